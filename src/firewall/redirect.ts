/** The nftables rules that send TLS to a transparent listener, as text for `nft -f -`. Pure. */
import { formatRemoval, makeStamp } from './own-table.ts'
import { setOf } from './set-of.ts'

export interface Redirection {
  readonly table: string
  /** Port of the transparent listener on this machine. */
  readonly port: number
  /** Whose own connections are redirected. */
  readonly users: readonly string[]
  /** Connections that come in from there to be passed on are redirected. */
  readonly interfaces: readonly string[]
  /** The users that are left alone: the gate's own first of all, whose dials would come back to it. */
  readonly exempt: readonly string[]
}

/** Whose connections the table redirects. */
export function redirectionStamp({ users, interfaces }: Pick<Redirection, 'users' | 'interfaces'>): string {
  return makeStamp('redirect', [users.toSorted(), interfaces.toSorted()])
}

/** Replaces a table that has this name; as one transaction no connection slips through. */
export function formatRedirection(redirection: Redirection): string {
  const { table, port, users, interfaces, exempt } = redirection
  const redirect = `tcp dport 443 redirect to :${port}`
  // QUIC has no ClientHello over TCP to look into; a client that is rejected at once goes back to TCP.
  const noQuic = 'udp dport 443 reject'
  const leaveAlone = exempt.length > 0 ? [`    meta skuid ${setOf(exempt)} accept`] : []
  return [
    formatRemoval(table),
    `table inet ${table} {`,
    ...(users.length === 0
      ? []
      : [
          '  chain output {',
          '    type nat hook output priority -100; policy accept;',
          ...leaveAlone,
          // A service of this machine itself is reached as before.
          '    oifname "lo" accept',
          `    meta skuid ${setOf(users)} ${redirect}`,
          '  }',
          '  chain output_quic {',
          '    type filter hook output priority filter; policy accept;',
          ...leaveAlone,
          '    oifname "lo" accept',
          `    meta skuid ${setOf(users)} ${noQuic}`,
          '  }',
        ]),
    ...(interfaces.length === 0
      ? []
      : [
          '  chain prerouting {',
          '    type nat hook prerouting priority -100; policy accept;',
          `    iifname ${setOf(interfaces)} ${redirect}`,
          '  }',
          '  chain forward_quic {',
          '    type filter hook forward priority filter; policy accept;',
          `    iifname ${setOf(interfaces)} ${noQuic}`,
          '  }',
        ]),
    `  chain ${redirectionStamp(redirection)} {`,
    '  }',
    '}',
  ].join('\n')
}
