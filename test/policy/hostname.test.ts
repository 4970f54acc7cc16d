import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { hasNonAscii, parentsOf, parseHostname } from '../../src/policy/hostname.ts'

describe('names', () => {
  test.each([
    ['cgr.dev', 'cgr.dev'],
    ['CGR.Dev', 'cgr.dev'],
    ['a', 'a'],
    ['a-b.c--d', 'a-b.c--d'],
    ['xn--caf-dma.dev', 'xn--caf-dma.dev'],
    ['0.dev', '0.dev'],
    ['1.2.3.com', '1.2.3.com'],
    ['a.1b', 'a.1b'],
    ['x'.repeat(63), 'x'.repeat(63)],
    [`${'a.'.repeat(126)}a`, `${'a.'.repeat(126)}a`],
  ])('%s', (text, hostname) => {
    expect(parseHostname(text)).toEqual({ ok: true, hostname })
  })

  test.each([
    ['', 'empty'],
    ['.', 'empty_label'],
    ['..', 'empty_label'],
    ['cgr.dev.', 'trailing_dot'],
    ['cgr.dev..', 'empty_label'],
    ['.cgr.dev', 'empty_label'],
    ['a..b', 'empty_label'],
    ['cgr_dev.com', 'bad_character'],
    ['cgr dev', 'bad_character'],
    ['cgr.dev\0', 'bad_character'],
    ['cgr.dev\n', 'bad_character'],
    ['cgr.dev:443', 'bad_character'],
    ['*.cgr.dev', 'bad_character'],
    ['[::1]', 'bad_character'],
    ['::1', 'bad_character'],
    ['a/b', 'bad_character'],
    ['a%2eb', 'bad_character'],
    ['-a.dev', 'bad_label'],
    ['a-.dev', 'bad_label'],
    ['-', 'bad_label'],
    ['x'.repeat(64), 'bad_label'],
    [`${'a.'.repeat(126)}aa`, 'too_long'],
    ['a'.repeat(300), 'too_long'],
    ['1.2.3.4', 'numeric'],
    ['127.1', 'numeric'],
    ['0', 'numeric'],
    ['cgr.dev.7', 'numeric'],
    ['café.dev', 'not_ascii'],
    ['cgr\u3002dev', 'not_ascii'],
    // Both would fold to ASCII letters if they were lower-cased first.
    ['\u212a.dev', 'not_ascii'],
    ['\u0130.dev', 'not_ascii'],
  ])('%j is none: %s', (text, defect) => {
    expect(parseHostname(text)).toEqual({ ok: false, defect })
  })

  test('a name is its own canonical spelling', () => {
    fc.assert(
      fc.property(fc.oneof(fc.domain(), fc.stringMatching(/^[A-Za-z0-9.-]{1,40}$/)), (text) => {
        const result = parseHostname(text)
        if (!result.ok) return
        expect(result.hostname).toBe(text.toLowerCase())
        expect(parseHostname(result.hostname)).toEqual(result)
      }),
      { numRuns: 1000 },
    )
  })

  test('a name means the same to a URL parser, so that no later reader sees another host', () => {
    const names = fc
      .stringMatching(/^[a-z0-9-]{1,8}(\.[a-z0-9-]{1,8}){0,3}$/)
      // Punycode is checked by a URL parser and left alone here; and it reads a last label in hexadecimal as a number.
      .filter((text) => !text.includes('xn--') && !/(?:^|\.)0x[0-9a-f]*$/.test(text))
    fc.assert(
      fc.property(names, (text) => {
        const result = parseHostname(text)
        const read = result.ok ? new URL(`https://${result.hostname}/`).hostname : text
        expect(read).toBe(text)
      }),
      { numRuns: 1000 },
    )
  })
})

test.each([
  ['a.b.c', ['b.c', 'c']],
  ['cgr.dev', ['dev']],
  ['localhost', []],
])('the names above %s', (name, parents) => {
  expect([...parentsOf(name)]).toEqual(parents)
})

test.each([
  ['', false],
  ['cgr.dev', false],
  ['\0\x7f', false],
  ['\x80', true],
  ['caf\u00e9', true],
  ['\u{1f600}', true],
])('%j outside ASCII: %s', (text, expected) => {
  expect(hasNonAscii(text)).toBe(expected)
})
