/** `sallyport presets list|show|diff`. */
import { readBundledPresets } from '../presets/bundled.ts'
import { diffPresets, type Preset } from '../presets/preset.ts'
import { columns, EXIT, type ExitCode, type Io } from './io.ts'

export interface PresetsOptions {
  readonly json?: boolean
}

export function listPresets(options: PresetsOptions, io: Io): ExitCode {
  const presets = readBundledPresets()
  if (options.json) {
    const rows = presets.map(({ name, date, title, summary, hosts }) => ({
      name,
      date,
      title,
      summary,
      hosts: hosts.length,
    }))
    io.stdout.write(`${JSON.stringify(rows)}\n`)
  } else {
    io.stdout.write(
      columns(presets.map(({ name, hosts, summary }) => [name, `${hosts.length} hosts`, summary])),
    )
  }
  return EXIT.ok
}

export function showPreset(name: string, options: PresetsOptions, io: Io): ExitCode {
  const preset = find(name, io)
  if (!preset) return EXIT.usage
  if (options.json) {
    io.stdout.write(`${JSON.stringify(preset)}\n`)
    return EXIT.ok
  }
  io.stdout.write(`${preset.title}, ${preset.date}\n${preset.source}\n`)
  for (const section of new Set(preset.hosts.map((host) => host.section))) {
    const rows = preset.hosts.filter((host) => host.section === section)
    io.stdout.write(`\n${section}\n`)
    io.stdout.write(
      columns(rows.map((host) => [`  ${host.hostname}`, String(host.port), host.protocol, host.notes])),
    )
  }
  const { connections, dns } = preset.rules
  io.stdout.write(
    `\nConnections: egress allows ${connections.egress.join(' and ')}, ingress ${connections.ingress.join(' and ')}.\n` +
      `DNS: TTLs of ${dns.usualTtl} are usual, most are under ${dns.longestUsualTtl}; ` +
      `rules by address have to be updated ${dns.updateAddressRules}.\n`,
  )
  return EXIT.ok
}

/** Exits with 1 when the two differ, as diff does. */
export function showPresetDiff(a: string, b: string, options: PresetsOptions, io: Io): ExitCode {
  const before = find(a, io)
  const after = find(b, io)
  if (!before || !after) return EXIT.usage
  const diff = diffPresets(before, after)
  const same = diff.added.length + diff.removed.length + diff.changed.length === 0
  if (options.json) io.stdout.write(`${JSON.stringify(diff)}\n`)
  else {
    io.stdout.write(
      columns([
        ...diff.removed.map((host) => [`- ${host.hostname}`, String(host.port), host.notes]),
        ...diff.added.map((host) => [`+ ${host.hostname}`, String(host.port), host.notes]),
        ...diff.changed.map((pair) => [
          `~ ${pair.after.hostname}`,
          String(pair.after.port),
          `${pair.before.notes} -> ${pair.after.notes}`,
        ]),
      ]),
    )
    io.stdout.write(
      `${diff.removed.length} removed, ${diff.added.length} added, ${diff.changed.length} described anew, ${diff.unchanged} unchanged\n`,
    )
  }
  return same ? EXIT.ok : EXIT.finding
}

function find(name: string, io: Io): Preset | undefined {
  const presets = readBundledPresets()
  const preset = presets.find((candidate) => candidate.name === name)
  if (!preset) {
    io.stderr.write(
      `sallyport: no preset ${JSON.stringify(name)}; there are ${presets.map((p) => p.name).join(', ')}\n`,
    )
  }
  return preset
}
