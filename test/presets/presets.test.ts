import { describe, expect, test } from 'vitest'
import { ZodError } from 'zod'
import { parseHostPattern } from '../../src/policy/host-pattern.ts'
import { ruleName } from '../../src/policy/rules.ts'
import { readBundledPresets } from '../../src/presets/bundled.ts'
import {
  diffPresets,
  hostsElsewhere,
  parsePreset,
  presetRules,
  type Preset,
} from '../../src/presets/preset.ts'

const presets = readBundledPresets()

function named(name: string): Preset {
  const preset = presets.find((candidate) => candidate.name === name)
  if (!preset) throw new Error(`no preset ${name}`)
  return preset
}

const OLD = named('chainguard-2024-05-14')
const NEW = named('chainguard-2026-10-08')
const IMAGES = 'Chainguard Images Hosts'
const THIRD_PARTY = 'Chainguard Images Third-party Hosts'
const BUCKET = '9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com'

test('the bundled presets are listed oldest first, each named after the date of its page', () => {
  expect(presets.map(({ name }) => name)).toEqual(['chainguard-2024-05-14', 'chainguard-2026-10-08'])
  for (const { name, date, source } of presets) {
    expect(name).toBe(`chainguard-${date}`)
    expect(source).toMatch(/^https:\/\/edu\.chainguard\.dev\/.*network-requirements\/$/)
  }
})

test('chainguard-2024-05-14 is the table of its page', () => {
  const rows = OLD.hosts.map((host) => [host.hostname, host.port, host.protocol, host.notes, host.section])
  expect(rows).toEqual([
    ['cgr.dev', 443, 'HTTPS', 'Main image registry', IMAGES],
    ['console.chainguard.dev', 443, 'HTTPS', 'Chainguard dashboard', IMAGES],
    ['console-api.enforce.dev', 443, 'HTTPS', 'Registry API endpoint', IMAGES],
    ['enforce.dev', 443, 'HTTPS', 'Registry authentication', IMAGES],
    ['dl.enforce.dev', 443, 'HTTPS', 'chainctl downloads', IMAGES],
    ['issuer.enforce.dev', 443, 'HTTPS', 'Registry STS (Security Token Service)', IMAGES],
    ['packages.wolfi.dev', 443, 'HTTPS', 'Package repository (Developer Images)', IMAGES],
    [BUCKET, 443, 'HTTPS', 'Blob storage for cgr.dev', THIRD_PARTY],
    ['chainguardhelp.zendesk.com', 443, 'HTTPS', 'Support access for customers', THIRD_PARTY],
  ])
})

test('chainguard-2026-10-08 has the hosts of its page', () => {
  expect(NEW.hosts.map(({ hostname }) => hostname)).toEqual([
    'cgr.dev',
    'console.chainguard.dev',
    'data.chainguard.dev',
    'console-api.enforce.dev',
    'enforce.dev',
    'dl.enforce.dev',
    'issuer.enforce.dev',
    'apk.cgr.dev',
    'virtualapk.cgr.dev',
    'packages.cgr.dev',
    'packages.wolfi.dev',
    'tarballs.cgr.dev',
    'auth.chainguard.dev',
    BUCKET,
    'support.chainguard.dev',
    'tuf-repo-cdn.sigstore.dev',
    'chainguard.us.auth0.com',
  ])
  for (const host of NEW.hosts) expect(host).toMatchObject({ port: 443, protocol: 'HTTPS' })
})

describe.each([
  ['chainguard-2024-05-14', OLD],
  ['chainguard-2026-10-08', NEW],
])('%s', (_name, preset) => {
  test('says what the page says about connections and about DNS', () => {
    expect(preset.rules).toEqual({
      connections: { egress: ['new'], ingress: ['related', 'established'] },
      dns: {
        severalAddresses: true,
        usualTtl: '60s',
        longestUsualTtl: '1h',
        updateAddressRules: expect.stringContaining('TTL'),
      },
    })
  })

  test('has no host twice, and none that a rule could not name', () => {
    const names = preset.hosts.map(({ hostname }) => hostname)
    expect(new Set(names).size).toBe(names.length)
    expect(names.filter((name) => !parseHostPattern(name).ok)).toEqual([])
  })

  test('stands for one exact rule for each host', () => {
    const rules = presetRules(preset)
    expect(rules.map(ruleName)).toEqual(preset.hosts.map(({ hostname, port }) => `${hostname}:${port}`))
    for (const rule of rules) {
      expect(rule).toMatchObject({
        host: { kind: 'exact' },
        ruleset: preset.name,
        reason: expect.any(String),
      })
      expect(rule.expires).toBeUndefined()
    }
  })
})

describe('the difference of two presets', () => {
  test('from 2024-05-14 to 2026-10-08', () => {
    const diff = diffPresets(OLD, NEW)
    expect(diff.removed.map(({ hostname }) => hostname)).toEqual(['chainguardhelp.zendesk.com'])
    expect(diff.added.map(({ hostname }) => hostname)).toEqual([
      'data.chainguard.dev',
      'apk.cgr.dev',
      'virtualapk.cgr.dev',
      'packages.cgr.dev',
      'tarballs.cgr.dev',
      'auth.chainguard.dev',
      'support.chainguard.dev',
      'tuf-repo-cdn.sigstore.dev',
      'chainguard.us.auth0.com',
    ])
    expect(
      diff.changed.map(({ before, after }) => [after.hostname, before.notes, after.notes]),
    ).toContainEqual(['cgr.dev', 'Main image registry', 'Main container image registry'])
    expect(diff.unchanged + diff.changed.length + diff.removed.length).toBe(OLD.hosts.length)
  })

  test('backwards, what was added is removed', () => {
    const there = diffPresets(OLD, NEW)
    const back = diffPresets(NEW, OLD)
    expect(back.added).toEqual(there.removed)
    expect(back.removed).toEqual(there.added)
  })

  test('of a preset and itself there is none', () => {
    expect(diffPresets(OLD, OLD)).toEqual({ added: [], removed: [], changed: [], unchanged: 9 })
  })

  test.each([
    ['port', { port: 8443 }, 1, 1, 0],
    ['notes', { notes: 'elsewhere' }, 0, 0, 1],
    ['protocol', { protocol: 'TCP' }, 0, 0, 1],
    // Headings are renamed with every edition of the page; that changes no policy.
    ['section', { section: 'Elsewhere' }, 0, 0, 0],
  ])('of one with another %s', (_field, other, added, removed, changed) => {
    const [first, ...rest] = OLD.hosts
    if (!first) throw new Error('no host')
    const diff = diffPresets(OLD, { ...OLD, hosts: [{ ...first, ...other }, ...rest] })
    expect([diff.added.length, diff.removed.length, diff.changed.length]).toEqual([added, removed, changed])
  })
})

describe('hosts that stand in another preset', () => {
  test('are those of presets that are not in use, oldest preset first', () => {
    const elsewhere = hostsElsewhere(presets.toReversed(), [])
    expect(elsewhere).toHaveLength(OLD.hosts.length + NEW.hosts.length)
    expect(elsewhere[0]).toEqual({ hostname: 'cgr.dev', port: 443, preset: OLD.name })
    expect(elsewhere.at(-1)?.preset).toBe(NEW.name)
    expect(new Set(hostsElsewhere(presets, [OLD.name]).map(({ preset }) => preset))).toEqual(
      new Set([NEW.name]),
    )
    expect(hostsElsewhere(presets, [OLD.name, NEW.name])).toEqual([])
  })
})

describe('a damaged preset file does not load', () => {
  const { name: _, ...file } = OLD
  test('as it stands it does', () => {
    expect(parsePreset('copy', structuredClone(file))).toEqual({ ...OLD, name: 'copy' })
  })

  test.each([
    ['no hosts', { ...file, hosts: [] }],
    ['a date in words', { ...file, date: '14 May 2024' }],
    ['an unknown key', { ...file, host: [] }],
    ['a wildcard', { ...file, hosts: [{ ...file.hosts[0], hostname: '*.cgr.dev' }] }],
    ['an address', { ...file, hosts: [{ ...file.hosts[0], hostname: '10.0.0.1' }] }],
    ['a trailing dot', { ...file, hosts: [{ ...file.hosts[0], hostname: 'cgr.dev.' }] }],
    ['port 0', { ...file, hosts: [{ ...file.hosts[0], port: 0 }] }],
    ['no rules', { ...file, rules: undefined }],
    ['nothing', null],
  ])('%s', (_what, data) => {
    expect(() => parsePreset('damaged', data)).toThrow(ZodError)
  })
})
