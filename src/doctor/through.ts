/** Through a proxy: reach it, speak TLS with it where it wants that, and send it CONNECT. */
import { describeConnect, describeTls } from './describe.ts'
import type { Finding } from './findings.ts'
import { shake, type Shaken } from './handshake.ts'
import { judgeConnect, wordFor } from './judge.ts'
import { firstLineOf, readSallyportRefusal, shownFields } from './reply.ts'
import { exchange, type Exchanged } from './sockets.ts'
import type { Via } from './via.ts'
import type { Opened, Walk } from './walk.ts'

export async function openVia(walk: Walk, via: Via): Promise<Opened | undefined> {
  const { kit, target } = walk
  const bound = walk.bound(kit.limits.connectMs)
  const [reached, reachedMs] = await walk.time('proxy', () => kit.connect(via.host, via.port, bound))
  if (reached.kind === 'failed') {
    const { failure, code } = reached
    const why =
      code === 'ENOTFOUND' || code === 'EAI_AGAIN'
        ? `its name is not found (${code})`
        : wordFor({ address: '', result: failure, code, durationMs: 0 })
    return walk.fail(
      { name: 'proxy', durationMs: reachedMs },
      { code: 'proxy_unreachable', detail: `${via.shown}: ${why}` },
    )
  }
  let stream = walk.keep(reached.socket)
  let spoken = `${via.shown} answers`
  if (via.scheme === 'https') {
    const [secured, tlsMs] = await walk.time('proxy', () =>
      shake(stream, via.host, kit.trust, walk.bound(kit.limits.tlsMs)),
    )
    const finding = judgeProxyTls(secured, via)
    if (finding || secured.kind !== 'secured')
      return walk.fail(
        { name: 'proxy', durationMs: reachedMs + tlsMs },
        finding ?? { code: 'proxy_tls', detail: via.shown },
      )
    stream = walk.keep(secured.stream)
    spoken += `, ${describeTls(secured.facts)}`
  }
  walk.add({ name: 'proxy', mark: 'ok', durationMs: reachedMs, text: spoken })

  const authority = `${target.host}:${target.port}`
  const request = [
    `CONNECT ${authority} HTTP/1.1`,
    `Host: ${authority}`,
    `User-Agent: ${kit.userAgent}`,
    ...(via.authorization === undefined ? [] : [`Proxy-Authorization: ${via.authorization}`]),
  ]
  const [said, saidMs] = await walk.time('connect', () =>
    exchange(stream, `${request.join('\r\n')}\r\n\r\n`, walk.bound(kit.limits.proxyReplyMs)),
  )
  if (said.kind !== 'reply')
    return walk.fail(
      { name: 'connect', durationMs: saidMs },
      noConnectReply(said, via, kit.limits.proxyReplyMs),
    )
  const { head, body } = said
  const sallyport = readSallyportRefusal(head, body)
  const firstLine = firstLineOf(head, body)
  const connect = {
    status: head.status,
    statusLine: head.statusLine,
    ...shownFields(head, {
      proxyStatus: 'proxy-status',
      authenticate: 'proxy-authenticate',
      server: 'server',
    }),
    ...shownFields(head, { location: 'location', contentType: 'content-type' }),
    ...(firstLine !== undefined && { firstLine }),
    ...(sallyport && { sallyport }),
  }
  const finding = judgeConnect(connect, target.host)
  const step = { name: 'connect', durationMs: saidMs, text: describeConnect(connect), connect } as const
  if (finding) return walk.fail(step, finding)
  walk.add({ ...step, mark: 'ok' })
  // The proxy resolves: whether the address is an inside one is not known here.
  return { stream, publicExpected: target.documented }
}

function judgeProxyTls(secured: Shaken, { shown }: Via): Finding | undefined {
  switch (secured.kind) {
    case 'secured': {
      const { facts } = secured
      if (facts.trust === 'unknown')
        return {
          code: 'proxy_tls',
          detail: `${shown}: its certificate is issued by ${facts.issuer}, which is no CA known here`,
          ask: "have the proxy's CA trusted on this machine (NODE_EXTRA_CA_CERTS for this command)",
        }
      return facts.nameMatches
        ? undefined
        : {
            code: 'proxy_tls',
            detail: `${shown}: its certificate is for ${facts.names.join(', ') || facts.subject}`,
            ask: 'call the proxy by the name in its certificate',
          }
    }
    case 'not_tls':
      return { code: 'proxy_tls', detail: `${shown} does not speak TLS: ${secured.firstLine}` }
    case 'timeout':
      return { code: 'proxy_tls', detail: `${shown}: no answer to TLS` }
    default:
      return { code: 'proxy_tls', detail: `${shown}: ${secured.code}` }
  }
}

function noConnectReply(
  said: Exclude<Exchanged, { kind: 'reply' }>,
  { shown }: Via,
  waitedMs: number,
): Finding {
  switch (said.kind) {
    case 'not_http':
      return { code: 'proxy_not_http', detail: `${shown} answered CONNECT with: ${said.firstLine}` }
    case 'timeout':
      return { code: 'proxy_no_answer', detail: `${shown}: no answer to CONNECT in ${waitedMs / 1000} s` }
    case 'closed':
      return {
        code: 'proxy_no_answer',
        detail: `${shown} closed the connection without an answer${said.code === undefined ? '' : ` (${said.code})`}`,
      }
  }
}
