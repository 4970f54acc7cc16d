import { describe, expect, test } from 'vitest'
import { formatListenAddress, parseDurationMs, parseListenAddress } from '../../src/config/units.ts'

describe('durations', () => {
  test.each([
    ['0s', 0],
    ['1ms', 1],
    ['500ms', 500],
    ['10s', 10_000],
    ['5m', 300_000],
    ['1h', 3_600_000],
    ['1d', 86_400_000],
    ['24d', 2_073_600_000],
    ['007s', 7000],
    // The longest that Node's timers can wait.
    ['2147483647ms', 2_147_483_647],
  ])('%s', (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms)
  })

  test.each([
    ['no unit', '10'],
    ['no number', 's'],
    ['nothing', ''],
    ['a space', '10 s'],
    ['spaces around', ' 10s '],
    ['an upper-case unit', '10S'],
    ['an unknown unit', '1w'],
    ['minutes in full', '5min'],
    ['a fraction', '1.5s'],
    ['a sign', '-1s'],
    ['a plus', '+1s'],
    ['an exponent', '1e3s'],
    ['two units', '1h30m'],
    ['a line break', '10s\n'],
    ['longer than a timer can wait, which would fire at once', '25d'],
    ['one millisecond too long', '2147483648ms'],
    ['more digits than that', '99999999999ms'],
    ['digits of another script', '１０s'],
  ])('%s: %j', (_what, text) => {
    expect(parseDurationMs(text)).toBeUndefined()
  })
})

describe('listen addresses', () => {
  test.each([
    ['127.0.0.1:3128', '127.0.0.1', 3128],
    ['0.0.0.0:3128', '0.0.0.0', 3128],
    ['127.0.0.1:0', '127.0.0.1', 0],
    ['127.0.0.1:65535', '127.0.0.1', 65_535],
    ['[::1]:3128', '::1', 3128],
    ['[::]:3128', '::', 3128],
    ['localhost:3128', '127.0.0.1', 3128],
  ])('%s', (text, host, port) => {
    expect(parseListenAddress(text)).toEqual({ host, port })
  })

  test.each([
    ['a port alone', '3128'],
    ['a port with a colon', ':3128'],
    ['every interface, as other programs write it', '*:3128'],
    ['no port', '127.0.0.1'],
    ['an empty port', '127.0.0.1:'],
    ['IPv6 without brackets', '::1:3128'],
    ['an unclosed bracket', '[::1:3128'],
    ['IPv4 in brackets', '[127.0.0.1]:3128'],
    ['a zone id', '[fe80::1%eth0]:3128'],
    ['a name', 'proxy.example.com:3128'],
    ['a port over 65535', '127.0.0.1:65536'],
    ['a leading zero', '127.0.0.1:03128'],
    ['a short address', '127.1:3128'],
    ['an octet of 256', '256.0.0.1:3128'],
    ['a URL', 'http://127.0.0.1:3128'],
    ['two ports', '127.0.0.1:3128:3129'],
    ['a space', '127.0.0.1: 3128'],
    ['nothing', ''],
  ])('%s: %j', (_what, text) => {
    expect(parseListenAddress(text)).toBeUndefined()
  })

  test.each(['127.0.0.1:3128', '[::1]:3128', '0.0.0.0:0', '[2001:db8::1]:65535'])(
    '%s is written as it is read',
    (text) => {
      const address = parseListenAddress(text)
      expect(address && formatListenAddress(address)).toBe(text)
    },
  )
})
