/** Password file, Basic credentials and the bounded verifier. */
import { describe, expect, test } from 'vitest'
import { parseBasic } from '../../src/proxy/basic.ts'
import {
  DEFAULT_COST,
  formatEntry,
  memoryOf,
  parsePasswordFile,
  type PasswordEntry,
} from '../../src/proxy/password-file.ts'
import { createVerifier, hashPassword, type VerifyLimits } from '../../src/proxy/verify-password.ts'
import { makeEntry } from '../support/passwords.ts'
import { within } from '../support/deadline.ts'

const ada = await makeEntry('ada', 'correct horse')
const LINE = formatEntry(ada)

describe('the file', () => {
  test('reads what is written, between comments and blank lines', () => {
    const file = parsePasswordFile(`# users\n\n${LINE}\r\n  ${LINE.replace('ada', 'eve')}\n`)
    expect(file.ok && [...file.entries.keys()]).toEqual(['ada', 'eve'])
    expect(file.ok && file.entries.get('ada')).toEqual(ada)
  })

  test('the default cost takes 32 MiB', () => {
    expect(memoryOf(DEFAULT_COST)).toBe(32 * 1024 * 1024)
  })

  const secret = LINE.split('$').at(-1) ?? ''
  test.each<[string, string, RegExp]>([
    ['no colon', secret, /not `name/],
    ['a name with a space', LINE.replace('ada', 'a da'), /the name has/],
    ['a clear password', 'ada:hunter2', /no `\$scrypt/],
    ['another algorithm', LINE.replace('scrypt', 'argon2id'), /no `\$scrypt/],
    ['a cheap hash', LINE.replace('ln=14', 'ln=10'), /cost/],
    ['a hash that takes a gigabyte', LINE.replace('ln=14', 'ln=20'), /cost/],
    ['a hash that takes minutes', LINE.replace('p=1', 'p=99'), /cost/],
    ['zero rounds', LINE.replace('p=1', 'p=0'), /cost/],
    ['a short hash', LINE.slice(0, -20), /too short/],
    ['a user twice', `${LINE}\n${LINE}`, /second line for ada/],
  ])('%s is refused, and the line not quoted', (_what, text, problem) => {
    const file = parsePasswordFile(`# one\n${text}`)
    expect(file).toMatchObject({ ok: false, problem: expect.stringMatching(problem) })
    expect(JSON.stringify(file)).not.toContain(secret)
    expect(JSON.stringify(file)).not.toContain('hunter2')
  })
})

const basic = (text: string | Buffer): string => `Basic ${Buffer.from(text).toString('base64')}`

describe('Basic credentials', () => {
  test.each<[string, string, string, string]>([
    ['plain', basic('ada:pass'), 'ada', 'pass'],
    ['a colon in the password', basic('ada:a:b:'), 'ada', 'a:b:'],
    ['an empty password', basic('ada:'), 'ada', ''],
    ['UTF-8', basic('ada:pässwörd'), 'ada', 'pässwörd'],
    ['the scheme in any case', basic('ada:x').replace('Basic', 'bASIC'), 'ada', 'x'],
  ])('%s', (_what, field, user, password) => {
    expect(parseBasic([field])).toEqual({ user, password })
  })

  test.each<[string, readonly string[]]>([
    ['none', []],
    ['two fields', [basic('ada:x'), basic('ada:x')]],
    ['another scheme', ['Bearer YWRhOng=']],
    ['no scheme', ['YWRhOng=']],
    ['two in one', [`${basic('ada:x')}, ${basic('eve:x')}`]],
    ['no base64', ['Basic ada:x']],
    ['no colon', [basic('ada')]],
    ['no user', [basic(':x')]],
    ['a NUL', [basic('ada\0:x')]],
    ['a line feed in the password', [basic('ada:x\ny')]],
    ['a C1 control', [basic('ada:x\u0085y')]],
    ['no UTF-8', [basic(Buffer.from([0x61, 0x3a, 0xff]))]],
  ])('%s is nothing', (_what, fields) => {
    expect(parseBasic(fields)).toBeUndefined()
  })
})

describe('verification', () => {
  const entries = new Map([['ada', ada]])
  const verifier = (
    limits: Partial<VerifyLimits> = {},
    users: ReadonlyMap<string, PasswordEntry> = entries,
  ) => createVerifier(users, { running: 2, waiting: 32, perClient: 8, wrong: 16, ...limits })
  const right = { user: 'ada', password: 'correct horse' }

  test.each([
    ['the right password', right, 'right'],
    ['a wrong one', { user: 'ada', password: 'correct horsf' }, 'wrong'],
    ['an empty one', { user: 'ada', password: '' }, 'wrong'],
    ['a user that is not there', { user: 'eve', password: 'correct horse' }, 'wrong'],
    ['a name out of Object.prototype', { user: '__proto__', password: 'x' }, 'wrong'],
  ])('%s', async (_what, credentials, expected) => {
    const verify = verifier()
    const first = verify(credentials, '127.0.0.1')
    expect(first).toBeInstanceOf(Promise)
    expect(await first).toBe(expected)
    // Known from now on, without work.
    expect(verify(credentials, '127.0.0.1')).toBe(expected)
  })

  test('a user boundary cannot be moved: the NUL between user and password is in neither', async () => {
    const verify = verifier(
      {},
      new Map([
        ['ada', ada],
        ['ad', ada],
      ]),
    )
    expect(await verify(right, 'x')).toBe('right')
    expect(await verify({ user: 'ad', password: 'acorrect horse' }, 'x')).toBe('wrong')
  })

  test('with no user at all nobody gets in', async () => {
    expect(await verifier({}, new Map())(right, '127.0.0.1')).toBe('wrong')
  })

  test('the same credentials are worked on once, however many ask', () => {
    const verify = verifier()
    const asked = Array.from({ length: 50 }, () => verify(right, '127.0.0.1'))
    expect(new Set(asked).size).toBe(1)
  })

  test('a flood from one client is turned away; another client and known credentials are served', async () => {
    const verify = verifier({ running: 1, waiting: 8, perClient: 3 })
    expect(await verify(right, '10.0.0.1')).toBe('right')
    const flood = Array.from({ length: 100 }, (_, index) =>
      verify({ user: 'ada', password: `${index}` }, '10.6.6.6'),
    )
    expect(flood.filter((verdict) => verdict === 'busy')).toHaveLength(97)
    expect(verify(right, '10.6.6.6')).toBe('right')
    const other = verify({ user: 'eve', password: 'x' }, '10.0.0.1')
    expect(await within(Promise.resolve(other), 'the other client')).toBe('wrong')
    // All that was taken on has been worked off, and there is room again.
    await Promise.all(flood.map((verdict) => Promise.resolve(verdict)))
    expect(verify({ user: 'ada', password: 'again' }, '10.6.6.6')).toBeInstanceOf(Promise)
  })

  test('many clients cannot make more wait than there is room', async () => {
    const verify = verifier({ running: 1, waiting: 4 })
    const flood = Array.from({ length: 40 }, (_, index) =>
      verify({ user: 'ada', password: `${index}` }, `10.0.0.${index}`),
    )
    expect(flood.filter((verdict) => verdict === 'busy')).toHaveLength(35)
    expect(await Promise.all(flood.slice(0, 5).map((verdict) => Promise.resolve(verdict)))).toEqual(
      Array(5).fill('wrong'),
    )
  })

  test('wrong guesses are forgotten before right ones', async () => {
    const verify = verifier({ wrong: 2 })
    expect(await verify(right, 'x')).toBe('right')
    for (const password of ['a', 'b', 'c']) expect(await verify({ user: 'ada', password }, 'x')).toBe('wrong')
    expect(verify(right, 'x')).toBe('right')
    expect(verify({ user: 'ada', password: 'a' }, 'x')).toBeInstanceOf(Promise)
  })

  test('hashes as RFC 7914 section 12 says', async () => {
    const cost = { ln: 14, r: 8, p: 1 }
    const hash = await hashPassword('pleaseletmein', {
      cost,
      salt: Buffer.from('SodiumChloride'),
      length: 64,
    })
    expect(hash.toString('hex')).toMatch(/^7023bdcb3afd7348461c06cd81fd38eb/)
  })
})
