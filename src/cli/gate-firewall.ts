/** `firewall: nftables`: the gate's own packet filter. One process keeps it, however many carry tunnels. */
import { systemClock } from '../clock.ts'
import type { Config } from '../config/load.ts'
import type { AdmitElements } from '../firewall/admission.ts'
import { Keeper } from '../firewall/keeper.ts'
import { runNft } from '../firewall/nft.ts'
import type { Ruleset } from '../firewall/ruleset.ts'
import { noticesFor, mendNowAndThen, rulesetOf } from './firewall-parts.ts'
import type { RunningGate } from './running-gate.ts'

export interface GateFirewall {
  readonly admit: AdmitElements
  /** Puts the table there; rejects with `NftError` where that cannot be. */
  start(): Promise<void>
  /** A reload changes the rules first (other name servers may be asked), and the gate then; both or none. */
  around(gate: Pick<RunningGate, 'reload'>): Pick<RunningGate, 'reload'>
  /** The table stays: what guards must not vanish with its keeper. */
  stop(): void
}

export function createGateFirewall(config: Config, say: (text: string) => void): GateFirewall | undefined {
  const settings = config.firewall
  if (!settings) return undefined
  let current = config
  const ruleset = (): Ruleset => rulesetOf(current, settings)
  const keeper = new Keeper({ nft: runNft, clock: systemClock, ruleset: ruleset() })
  let stopMending: (() => void) | undefined
  let failing = false
  return {
    async admit(elements) {
      try {
        await keeper.admit(elements)
        failing = false
        return true
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error)
        if (!failing) say(`no tunnel opens to a new address: ${why}`)
        failing = true
        return false
      }
    },
    async start() {
      await keeper.install()
      stopMending = mendNowAndThen(keeper, ruleset, say)
      for (const notice of noticesFor(keeper.ruleset)) say(notice)
    },
    around: (gate) => ({
      async reload(next) {
        const before = current
        // At once, so that a mend meanwhile does not put the old rules back.
        current = next.config
        try {
          const back = await keeper.change(ruleset(), before.limits.dialTimeoutMs)
          try {
            return await gate.reload(next)
          } catch (error) {
            await back()
            throw error
          }
        } catch (error) {
          current = before
          throw error
        }
      },
    }),
    stop: () => stopMending?.(),
  }
}
