import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { maskTarget } from '../../src/audit/client-text.ts'

describe('a target as it may be recorded', () => {
  test.each([
    ['//user:secret@cgr.dev:443', '//***@cgr.dev:443'],
    ['//u:s@x', '//***@x'],
    ['https://user:secret@cgr.dev/', 'https://***@cgr.dev/'],
    ['HTTPS://user:secret@cgr.dev/', 'HTTPS://***@cgr.dev/'],
    ['git+ssh://user@cgr.dev/', 'git+ssh://***@cgr.dev/'],
    ['user:secret@cgr.dev:443', '***@cgr.dev:443'],
    ['@cgr.dev:443', '***@cgr.dev:443'],
    ['user@', '***@'],
  ])('%j: what stands before an @ is masked', (target, masked) => {
    expect(maskTarget(target)).toBe(masked)
  })

  test.each([
    ['a slash in the password', 'https://user:sec/ret@cgr.dev/', 'https://***@cgr.dev/'],
    ['an @ in the password', 'user:p@ss@cgr.dev:443', '***@cgr.dev:443'],
    ['an @ in the password of a URL', 'https://user:p@ss@cgr.dev/', 'https://***@cgr.dev/'],
    ['an @ behind a path', 'cgr.dev:443/user:secret@x', '***@x'],
    ['line ends', 'user:sec\r\nret@cgr.dev:443', '***@cgr.dev:443'],
    ['a name that could be a scheme', 'ghp-token:x-oauth-basic@cgr.dev:443', '***@cgr.dev:443'],
    ['a name that is one', 'https:secret@cgr.dev:443', '***@cgr.dev:443'],
  ])('%s hides none of it', (_what, target, masked) => {
    expect(maskTarget(target)).toBe(masked)
  })

  test.each([
    ['https://cgr.dev/v2/?token=secret', 'https://cgr.dev/v2/?***'],
    ['https://cgr.dev/v2/#secret', 'https://cgr.dev/v2/?***'],
    ['cgr.dev:443?secret', 'cgr.dev:443?***'],
    ['/v2/?a=secret&b=secret#secret', '/v2/?***'],
    ['/v2/#secret?secret', '/v2/?***'],
    ['/?', '/?***'],
    ['/?sec\nret', '/?***'],
    ['https://user:secret@cgr.dev/?token=secret', 'https://***@cgr.dev/?***'],
  ])('%j: a query and a fragment are masked', (target, masked) => {
    expect(maskTarget(target)).toBe(masked)
  })

  // Nobody can tell whether this ? begins a query or belongs to a password.
  test.each([
    'user:secret?x@cgr.dev:443',
    'user:secret#x@cgr.dev:443',
    'x:sec?ret@cgr.dev:443',
    'https://user:secret?x@cgr.dev/',
    '//user:secret#x@cgr.dev/',
    'https://cgr.dev/?mail=a@b.example&token=secret',
    'https://cgr.dev/?mail=a@b.example?token=secret',
    'https://cgr.dev/?mail=a@b.example,secret',
    'https://cgr.dev/?mail=a@b.example/secret',
  ])('%j: neither half of the secret is shown', (target) => {
    expect(maskTarget(target)).not.toMatch(/sec|ret/)
  })

  test.each([
    '',
    '*',
    '/',
    'cgr.dev',
    'cgr.dev:443',
    '[2001:db8::1]:443',
    'https://cgr.dev/v2/',
    '//cgr.dev',
  ])('%j has nothing to hide and stays as it is', (target) => {
    expect(maskTarget(target)).toBe(target)
  })

  test('whatever the credentials look like, a recorded target has none of them', () => {
    const secret = fc.constantFrom('s3_cr3t', 'S3_CR3T')
    const noise = fc.string({ maxLength: 4, unit: fc.constantFrom(...'ab:/@?#.\n'.split('')) })
    const start = fc.constantFrom('', '//', 'https://', 'a:', 'x+y://')
    fc.assert(
      fc.property(start, noise, secret, noise, (first, before, word, after) => {
        expect(maskTarget(`${first}${before}${word}${after}@cgr.dev:443`)).not.toContain(word)
      }),
    )
  })

  test('masking twice is masking once', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom(...'ab:/@?#*'.split('')) }), (target) => {
        const once = maskTarget(target)
        expect(maskTarget(once)).toBe(once)
      }),
    )
  })
})
