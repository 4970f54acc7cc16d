/** TLS and HTTP over whatever leads to the host. */
import { describeHttp, describeTls } from './describe.ts'
import { isRegistry, pathFor, portalSign } from './expectation.ts'
import type { Finding } from './findings.ts'
import { shake, type Shaken } from './handshake.ts'
import { judgeHttp, judgeTls } from './judge.ts'
import { firstLineOf, parseReplyHead, shownFields, type ReplyHead } from './reply.ts'
import type { HttpFacts } from './report.ts'
import { exchange, type Exchanged } from './sockets.ts'
import type { Opened, Walk } from './walk.ts'

export async function speak(walk: Walk, { stream, publicExpected }: Opened): Promise<void> {
  const { kit, target, course } = walk
  const { host } = target
  const [secured, tlsMs] = await walk.time('tls', () =>
    shake(stream, host, kit.trust, walk.bound(kit.limits.tlsMs)),
  )
  if (secured.kind !== 'secured') {
    walk.fail({ name: 'tls', durationMs: tlsMs }, noTls(secured, host))
    return
  }
  const tls = secured.facts
  const finding = judgeTls(tls, { host, nowMs: kit.wallMs(), publicExpected })
  const text = finding ? `${tls.version}, ${finding.detail}` : describeTls(tls)
  walk.add({
    name: 'tls',
    mark: finding ? 'fail' : tls.trust === 'local' ? 'note' : 'ok',
    durationMs: tlsMs,
    text,
    tls,
  })
  if (finding) course.finding = finding

  const secure = walk.keep(secured.stream)
  const path = pathFor(host, target.purpose)
  const authority = target.port === 443 ? host : `${host}:${target.port}`
  const lines = [
    `GET ${path} HTTP/1.1`,
    `Host: ${authority}`,
    `User-Agent: ${kit.userAgent}`,
    'Accept: */*',
    'Connection: close',
  ]
  const [said, httpMs] = await walk.time('http', () =>
    exchange(secure, `${lines.join('\r\n')}\r\n\r\n`, walk.bound(kit.limits.httpMs)),
  )
  if (said.kind !== 'reply') {
    const failed = noHttp(said, path)
    walk.add({ name: 'http', mark: 'fail', durationMs: httpMs, text: failed.detail })
    // What TLS found says more.
    course.finding ??= failed
    return
  }
  const http = httpFacts(said.head, said.body, `GET ${path}`, kit.wallMs())
  const judged = judgeHttp(
    http,
    { facts: tls, finding },
    { host, registry: isRegistry(host, target.purpose) },
  )
  const portal = judged?.code === 'captive_portal'
  walk.add({
    name: 'http',
    mark: portal ? 'fail' : 'ok',
    durationMs: httpMs,
    text: portal ? judged.detail : describeHttp(http, host, target.purpose),
    http,
  })
  if (judged) course.finding = judged
}

function noTls(failed: Exclude<Shaken, { kind: 'secured' }>, host: string): Finding {
  switch (failed.kind) {
    case 'not_tls': {
      const head = parseReplyHead(failed.bytes.toString('latin1').split(/\r?\n\r?\n/)[0] ?? '')
      const sign =
        head &&
        portalSign(
          {
            status: head.status,
            ...shownFields(head, { location: 'location', contentType: 'content-type' }),
          },
          { host, registry: true, peer: 'plain' },
        )
      return sign === undefined
        ? { code: 'tls_not_spoken', detail: `it answered TLS with: ${failed.firstLine}` }
        : { code: 'captive_portal', detail: `it answered TLS with plain HTTP: ${sign}` }
    }
    case 'timeout':
      return { code: 'tls_timeout', detail: 'no answer to the ClientHello' }
    case 'reset':
      return {
        code: 'tls_reset',
        detail: `the connection ended right after the ClientHello (${failed.code})`,
      }
    case 'failed':
      return { code: 'tls_failed', detail: `the handshake fails: ${failed.code}` }
  }
}

function noHttp(said: Exclude<Exchanged, { kind: 'reply' }>, path: string): Finding {
  switch (said.kind) {
    case 'timeout':
      return { code: 'http_timeout', detail: `no answer to GET ${path}` }
    case 'not_http':
      return { code: 'http_failed', detail: `GET ${path} was answered with: ${said.firstLine}` }
    case 'closed':
      return {
        code: 'http_failed',
        detail: `the connection ended without an answer to GET ${path}${said.code === undefined ? '' : ` (${said.code})`}`,
      }
  }
}

function httpFacts(head: ReplyHead, body: string, request: string, nowMs: number): HttpFacts {
  const firstLine = firstLineOf(head, body)
  const dateMs = Date.parse(head.fields.get('date') ?? '')
  return {
    request,
    status: head.status,
    statusLine: head.statusLine,
    ...shownFields(head, { contentType: 'content-type', location: 'location', server: 'server' }),
    ...(firstLine !== undefined && { firstLine }),
    ...(Number.isFinite(dateMs) && { clockAheadSeconds: Math.round((nowMs - dateMs) / 1000) }),
  }
}
