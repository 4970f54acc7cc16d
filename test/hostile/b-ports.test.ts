/** Table B: what stands where the port should, behind an allowed host. */
import { expect, test } from 'vitest'
import { connectRequest, openLab } from '../support/lab.ts'
import { expectRefused, type Verdict } from './verdict.ts'

const malformed = (kind: string): Verdict => ({ status: 400, code: 'malformed_authority', kind })
const WRONG_PORT: Verdict = { status: 403, code: 'port_not_allowed' }

test.for<{ id: string; attack: string; target: string; verdict: Verdict }>([
  { id: 'B1', attack: 'no port', target: 'cgr.dev', verdict: malformed('missing_port') },
  { id: 'B1', attack: 'an empty port', target: 'cgr.dev:', verdict: malformed('missing_port') },
  { id: 'B2', attack: 'a leading zero', target: 'cgr.dev:0443', verdict: malformed('bad_port') },
  { id: 'B2', attack: 'two leading zeros', target: 'cgr.dev:00443', verdict: malformed('bad_port') },
  { id: 'B3', attack: 'a plus sign', target: 'cgr.dev:+443', verdict: malformed('bad_port') },
  { id: 'B3', attack: 'a minus sign', target: 'cgr.dev:-443', verdict: malformed('bad_port') },
  { id: 'B3', attack: 'hexadecimal', target: 'cgr.dev:0x1bb', verdict: malformed('bad_port') },
  { id: 'B3', attack: 'a fraction', target: 'cgr.dev:443.0', verdict: malformed('bad_port') },
  { id: 'B3', attack: 'an exponent', target: 'cgr.dev:443e0', verdict: malformed('bad_port') },
  { id: 'B4', attack: '65536 + 443', target: 'cgr.dev:65979', verdict: malformed('bad_port') },
  { id: 'B4', attack: '65536', target: 'cgr.dev:65536', verdict: malformed('bad_port') },
  { id: 'B4', attack: '2^32 + 443', target: 'cgr.dev:4294967739', verdict: malformed('bad_port') },
  { id: 'B4', attack: 'zero', target: 'cgr.dev:0', verdict: malformed('bad_port') },
  { id: 'B5', attack: 'a second port', target: 'cgr.dev:443:80', verdict: malformed('bad_port') },
  { id: 'B5', attack: 'a second colon', target: 'cgr.dev::443', verdict: malformed('bad_port') },
  { id: 'B5', attack: 'two colons and no host', target: '::443', verdict: malformed('empty') },
  { id: 'B6', attack: 'plain HTTP', target: 'cgr.dev:80', verdict: WRONG_PORT },
  { id: 'B6', attack: 'SSH', target: 'cgr.dev:22', verdict: WRONG_PORT },
  { id: 'B6', attack: 'another TLS port', target: 'cgr.dev:8443', verdict: WRONG_PORT },
  { id: 'B6', attack: 'the largest port', target: 'cgr.dev:65535', verdict: WRONG_PORT },
  {
    id: 'B7',
    attack: 'fullwidth digits',
    target: 'cgr.dev:\uff14\uff14\uff13',
    verdict: malformed('not_ascii'),
  },
])('$id $attack: $target', async ({ target, verdict }) => {
  const lab = await openLab()
  const { record } = await expectRefused(lab, await lab.gate(), [connectRequest(target)], verdict)
  expect(record.event.action).toBe('tunnel-denied')
  // Whatever number could be made of it, a port that was not read is not recorded as one.
  expect(record.destination === undefined).toBe(verdict.status === 400)
})
