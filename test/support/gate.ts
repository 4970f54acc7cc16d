/** A gate in this process, built as an embedder builds it, on a port that the system chooses. */
import { createGate, loadConfig, type AssembledGate, type Config, type Seams } from '../../src/index.ts'
import { readBundledPresets } from '../../src/presets/bundled.ts'
import { AuditLog } from './audit-log.ts'
import { withEveryDenial } from './every-denial.ts'
import { within } from './deadline.ts'
import { testWire } from './test-wire.ts'

export interface TestGate {
  readonly port: number
  readonly audit: AuditLog
  readonly parts: AssembledGate
  /** Unexpected errors that the gate met; a test that expects none checks that there are none. */
  readonly bugs: readonly unknown[]
  stop(): Promise<void>
}

export interface TestGateOptions extends Omit<Seams, 'sinks' | 'onBug'> {
  /** The last word on the parsed configuration. */
  readonly adapt?: (config: Config) => Config
}

/** @param settings the configuration file as an object; it listens on any free port unless it says where */
export async function startGate(
  settings: Readonly<Record<string, unknown>>,
  { adapt, ...seams }: TestGateOptions = {},
): Promise<TestGate> {
  const config = parseSettings(withEveryDenial({ listen: '127.0.0.1:0', ...settings }))
  const audit = new AuditLog()
  const bugs: unknown[] = []
  const parts = createGate(adapt?.(config) ?? config, {
    wire: await testWire(),
    ...seams,
    sinks: [audit],
    onBug: (error) => bugs.push(error),
  })
  await parts.gate.start()
  return {
    port: parts.gate.endpoints[0]?.port ?? 0,
    audit,
    parts,
    bugs,
    async stop() {
      const stopped = parts.gate.stop()
      await new Promise((resolve) => {
        setImmediate(resolve)
      })
      // Again: at once, without waiting for open tunnels.
      void parts.gate.stop()
      await within(stopped, 'the gate to stop')
    },
  }
}

export function parseSettings(settings: Readonly<Record<string, unknown>>): Config {
  // JSON is YAML.
  const result = loadConfig({
    text: JSON.stringify(settings),
    name: 'test.yaml',
    presets: readBundledPresets(),
    nowMs: Date.now(),
  })
  if (!result.ok) throw new Error(result.issues.map((issue) => `${issue.path}: ${issue.message}`).join('\n'))
  return result.config
}
