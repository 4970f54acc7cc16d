/** Table C: an address where the host should be. None is looked up, forward or backward, and none is dialled. */
import { expect, test } from 'vitest'
import { addresses, pointsTo } from '../support/dns-scripts.ts'
import { connectRequest, openLab } from '../support/lab.ts'
import { expectRefused, type Verdict } from './verdict.ts'

const malformed = (kind: string): Verdict => ({ status: 400, code: 'malformed_authority', kind })
const LITERAL: Verdict = { status: 403, code: 'ip_literal' }
const NOT_ALLOWED: Verdict = { status: 403, code: 'host_not_allowed' }

test.for<{ id: string; attack: string; target: string; verdict: Verdict }>([
  { id: 'C1', attack: 'a public IPv4 address', target: '140.82.114.4:443', verdict: LITERAL },
  { id: 'C1', attack: 'a public IPv6 address', target: '[2606:4700:4700::1111]:443', verdict: LITERAL },
  {
    id: 'C1',
    attack: 'the same without brackets',
    target: '2606:4700:4700::1111:443',
    verdict: malformed('bad_port'),
  },
  { id: 'C3', attack: 'loopback', target: '127.0.0.1:443', verdict: LITERAL },
  { id: 'C3', attack: 'cloud metadata', target: '169.254.169.254:443', verdict: LITERAL },
  { id: 'C3', attack: 'a private address', target: '10.0.0.1:443', verdict: LITERAL },
  // inet_aton would read each of these as an address. The grammar knows no host whose last label is a number.
  { id: 'C4', attack: 'two parts', target: '127.1:443', verdict: malformed('numeric_host') },
  { id: 'C4', attack: 'zero', target: '0:443', verdict: malformed('numeric_host') },
  { id: 'C4', attack: 'one number', target: '2130706433:443', verdict: malformed('numeric_host') },
  { id: 'C4', attack: 'hexadecimal', target: '0x7f000001:443', verdict: malformed('numeric_host') },
  { id: 'C4', attack: 'hexadecimal parts', target: '0x7f.0.0.0x1:443', verdict: malformed('numeric_host') },
  {
    id: 'C4',
    attack: 'hexadecimal in capitals',
    target: '0X7F000001:443',
    verdict: malformed('numeric_host'),
  },
  { id: 'C4', attack: 'an empty hexadecimal', target: '127.0x:443', verdict: malformed('numeric_host') },
  // A label in front of others may look like a number; the name is one that no rule names.
  {
    id: 'C4',
    attack: 'a number that is no last label',
    target: '0x7f.example.com:443',
    verdict: NOT_ALLOWED,
  },
  { id: 'C4', attack: 'octal', target: '0177.0.0.1:443', verdict: malformed('numeric_host') },
  { id: 'C5', attack: 'three parts', target: '169.254.43518:443', verdict: malformed('numeric_host') },
  {
    id: 'C5',
    attack: 'octal metadata',
    target: '0251.0376.0251.0376:443',
    verdict: malformed('numeric_host'),
  },
  { id: 'C5', attack: 'a trailing dot', target: '169.254.169.254.:443', verdict: malformed('trailing_dot') },
  { id: 'C5', attack: 'a part too large', target: '256.0.0.1:443', verdict: malformed('numeric_host') },
  { id: 'C6', attack: 'a zone id', target: '[fe80::1%eth0]:443', verdict: malformed('percent_escape') },
  {
    id: 'C6',
    attack: 'a zone id that ends like an allowed host',
    target: '[::ffff:127.0.0.1%x.cgr.dev]:443',
    verdict: malformed('percent_escape'),
  },
  { id: 'C7', attack: 'IPv6 loopback', target: '[::1]:443', verdict: LITERAL },
  { id: 'C7', attack: 'the unspecified address', target: '[::]:443', verdict: LITERAL },
  { id: 'C7', attack: 'metadata, v4-mapped', target: '[::ffff:a9fe:a9fe]:443', verdict: LITERAL },
  {
    id: 'C7',
    attack: 'metadata, v4-mapped, dotted',
    target: '[::FFFF:169.254.169.254]:443',
    verdict: LITERAL,
  },
  { id: 'C8', attack: 'IPvFuture', target: '[v1.cgr.dev]:443', verdict: malformed('bad_brackets') },
  { id: 'C8', attack: 'a circled number', target: '1\u3257.0.0.1:443', verdict: malformed('not_ascii') },
])('$id $attack: $target', async ({ target, verdict }) => {
  const lab = await openLab()
  const { record } = await expectRefused(lab, await lab.gate(), [connectRequest(target)], verdict)
  // An address is recorded as one, and as nothing else.
  expect(record.destination?.ip !== undefined).toBe(verdict === LITERAL)
  expect(record.destination?.domain !== undefined).toBe(verdict === NOT_ALLOWED)
})

test('C2 a public address whose PTR record is an allowed name', async () => {
  const lab = await openLab()
  // Were the name asked for, this is what it would be asked.
  lab.dns
    .on('4.114.82.140.in-addr.arpa', 'any', pointsTo('cgr.dev'))
    .on('cgr.dev', 'A', addresses(60, '140.82.114.4'))
  // expectRefused finds that no question of any type came.
  const { record } = await expectRefused(lab, await lab.gate(), [connectRequest('140.82.114.4:443')], LITERAL)
  expect(record.destination).toEqual({ ip: '140.82.114.4', port: 443 })
})
