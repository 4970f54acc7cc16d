/**
 * Presets: the hosts of one dated edition of a written page. The files under `config/presets/` are data; this is
 * their shape and what can be asked of them.
 */
import { z } from 'zod'
import { parseHostname } from '../policy/hostname.ts'
import type { PresetHost, Rule } from '../policy/rules.ts'

const hostSchema = z.strictObject({
  hostname: z.string().transform((text, context) => {
    const name = parseHostname(text)
    if (name.ok) return name.hostname
    context.issues.push({ code: 'custom', input: text, message: `not a hostname: ${name.defect}` })
    return z.NEVER
  }),
  port: z.int().min(1).max(65_535),
  protocol: z.string(),
  /** What the host is for, in the page's words. */
  notes: z.string(),
  /** The heading under which the page lists it. */
  section: z.string(),
})

const presetFileSchema = z.strictObject({
  title: z.string(),
  /** The page's own "last updated" date. */
  date: z.iso.date(),
  source: z.url(),
  summary: z.string(),
  hosts: z.array(hostSchema).min(1),
  /** What the page says about connections and about the lifetime of DNS answers. */
  rules: z.strictObject({
    connections: z.strictObject({ egress: z.array(z.string()), ingress: z.array(z.string()) }),
    dns: z.strictObject({
      severalAddresses: z.boolean(),
      usualTtl: z.string(),
      longestUsualTtl: z.string(),
      updateAddressRules: z.string(),
    }),
  }),
})

export type Preset = z.infer<typeof presetFileSchema> & { readonly name: string }

/** Checks the parsed YAML of a preset file. Throws on a defect: presets ship with the program. */
export function parsePreset(name: string, data: unknown): Preset {
  return { name, ...presetFileSchema.parse(data) }
}

/** The allow rules that a preset stands for. */
export function presetRules(preset: Preset): readonly Rule[] {
  return preset.hosts.map((host) => ({
    host: { kind: 'exact', hostname: host.hostname },
    port: host.port,
    ruleset: preset.name,
    reason: host.notes,
  }))
}

/** Hosts of presets that are not in use, oldest preset first, for the hint "it is in preset …". */
export function hostsElsewhere(presets: readonly Preset[], used: readonly string[]): readonly PresetHost[] {
  return presets
    .filter((preset) => !used.includes(preset.name))
    .toSorted((a, b) => a.date.localeCompare(b.date))
    .flatMap((preset) => preset.hosts.map(({ hostname, port }) => ({ hostname, port, preset: preset.name })))
}

export type PresetHostEntry = Preset['hosts'][number]

export interface PresetDiff {
  readonly added: readonly PresetHostEntry[]
  readonly removed: readonly PresetHostEntry[]
  /** Same host and port, other notes or protocol. Headings differ in every edition and say nothing. */
  readonly changed: readonly { readonly before: PresetHostEntry; readonly after: PresetHostEntry }[]
  readonly unchanged: number
}

/** What changes for a policy that moves from preset `a` to preset `b`. */
export function diffPresets(a: Preset, b: Preset): PresetDiff {
  const key = (host: PresetHostEntry): string => `${host.hostname}:${host.port}`
  const before = new Map(a.hosts.map((host) => [key(host), host]))
  const after = new Map(b.hosts.map((host) => [key(host), host]))
  const kept = a.hosts.flatMap((host) => {
    const now = after.get(key(host))
    return now ? [{ before: host, after: now }] : []
  })
  const changed = kept.filter(
    (pair) => pair.before.notes !== pair.after.notes || pair.before.protocol !== pair.after.protocol,
  )
  return {
    added: b.hosts.filter((host) => !before.has(key(host))),
    removed: a.hosts.filter((host) => !after.has(key(host))),
    changed,
    unchanged: kept.length - changed.length,
  }
}
