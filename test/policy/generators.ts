/** Policies as users write them, and targets that come near them. */
import fc from 'fast-check'
import type { PolicyMode } from '../../src/policy/rules.ts'

export interface WrittenRule {
  readonly host: string
  readonly port?: number
  readonly owner?: string
  readonly expires?: string
}

export interface WrittenPolicy {
  readonly mode: PolicyMode
  readonly presets: readonly string[]
  readonly allow: readonly WrittenRule[]
  readonly deny: readonly WrittenRule[]
}

/** Few enough that rules and targets meet often. */
const HOSTS = [
  'cgr.dev',
  'apk.cgr.dev',
  'x.apk.cgr.dev',
  'enforce.dev',
  'dl.enforce.dev',
  'example.com',
  'a.example.com',
  'b.a.example.com',
]
const STRANGERS = ['cgr.dv', 'evilcgr.dev', 'cgr.dev.evil.test', 'evil.test', 'exmaple.com', 'a.exmaple.com']
const ADDRESSES = ['192.0.2.1', '10.0.0.1', '127.0.0.1', '[::1]', '[2001:db8::1]', '[::ffff:a9fe:a9fe]']
/** No spaces in them: those break the request line before anybody looks at the target. */
const MALFORMED = [
  'cgr.dev.:443',
  'cgr.dev:0443',
  'cgr.dev:65979',
  'cgr.dev:',
  ':443',
  'https://cgr.dev:443',
  'cgr.dev:443@evil.test:443',
  'cgr.dev:443/',
  'cgr%2edev:443',
  '*.cgr.dev:443',
  '[cgr.dev]:443',
  '[fe80::1%eth0]:443',
  'cgr..dev:443',
  '_x.cgr.dev:443',
  '127.1:443',
]
const PORTS = [443, 443, 8443, 80]
export const PAST = '2020-01-01'
export const FUTURE = '2999-12-31'

const hostPattern = fc.oneof(
  fc.constantFrom(...HOSTS),
  fc.constantFrom(...HOSTS).map((host) => `*.${host}`),
)
const expires = fc.constantFrom(undefined, undefined, PAST, FUTURE)

function written(rule: {
  host: string
  port: number | undefined
  owner: string | undefined
  expires: string | undefined
}): WrittenRule {
  const { host, port, owner, expires } = rule
  return {
    host,
    ...(port !== undefined && { port }),
    ...(owner !== undefined && { owner }),
    ...(expires !== undefined && { expires }),
  }
}

export const writtenPolicy: fc.Arbitrary<WrittenPolicy> = fc.record({
  mode: fc.constantFrom('enforce', 'enforce', 'report'),
  presets: fc.constantFrom([], ['chainguard-2024-05-14']),
  allow: fc.array(
    fc
      .record({
        host: hostPattern,
        port: fc.constantFrom(undefined, ...PORTS),
        owner: fc.constantFrom(undefined, 'platform', 'Ünïted'),
        expires,
      })
      .map(written),
    { maxLength: 5 },
  ),
  deny: fc.array(
    fc
      .record({
        host: hostPattern,
        port: fc.constantFrom(undefined, ...PORTS),
        owner: fc.constantFrom(undefined, 'security'),
        expires,
      })
      .map(written),
    { maxLength: 2 },
  ),
})

export const target: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: withPort(fc.constantFrom(...HOSTS)) },
  { weight: 2, arbitrary: withPort(fc.constantFrom(...STRANGERS)) },
  { weight: 1, arbitrary: withPort(fc.constantFrom(...ADDRESSES)) },
  { weight: 1, arbitrary: fc.constantFrom(...MALFORMED) },
)

function withPort(host: fc.Arbitrary<string>): fc.Arbitrary<string> {
  const spelling = fc.tuple(host, fc.boolean()).map(([text, loud]) => (loud ? text.toUpperCase() : text))
  return fc.tuple(spelling, fc.constantFrom(...PORTS)).map(([text, port]) => `${text}:${port}`)
}
