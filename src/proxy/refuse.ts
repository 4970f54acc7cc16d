/**
 * What a refused client is told. The reason phrase is the interface: docker, crane, podman, wget, pip and npm print it
 * to their user unchanged, and nothing else of the reply. Pure: from a refusal to bytes.
 */
import { outcome, type OutcomeCode } from '../policy/reasons.ts'
import { authorityOf, explanation, printable, verbOf, type Refusal } from '../policy/refusal.ts'
import { fatalAlert } from '../tls/alert.ts'
import { CHALLENGE } from './basic.ts'
import type { Attempt } from '../audit/attempt.ts'

export const ESTABLISHED = Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n')

/** Bytes of a reason phrase; the longest that every measured client prints whole. */
export const MAX_PHRASE_BYTES = 200

/** The HTTP reply to a refused request, or `undefined` where only an alert or silence is left. */
export function formatReply(attempt: Attempt, refusal: Refusal): Buffer | undefined {
  const { status, proxyError, retry } = outcome(refusal.code)
  if (status === null) return undefined
  const body = JSON.stringify({
    error: formatSentence(attempt, refusal),
    code: refusal.code,
    id: attempt.id,
    ...(refusal.hint && { hint: refusal.hint.value }),
    retry,
  })
  const lines = [
    `HTTP/1.1 ${status} ${formatPhrase(attempt, refusal)}`,
    'Content-Type: application/json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Connection: close',
    `Proxy-Status: sallyport; error=${proxyError}; details="${refusal.code}"`,
    // RFC 9110 §15.5.6 and §15.5.8 ask for these.
    ...(status === 405 ? ['Allow: CONNECT'] : []),
    ...(status === 407 ? [`Proxy-Authenticate: ${CHALLENGE}`] : []),
  ]
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`)
}

/** The fatal TLS alert for a client that is past the 200, or spoke TLS to begin with; none for one that is gone. */
export function formatAlert(code: OutcomeCode): Buffer | undefined {
  const { alert } = outcome(code)
  return alert && fatalAlert(alert)
}

/**
 * `sallyport denied cgr.dv:443: host_not_allowed, did you mean cgr.dev? (id …)`, at most 200 bytes of printable
 * ASCII. What does not fit is left out from the least useful end: first the usual port, then the middle of the name
 * that was asked for (its sender knows it), then the explanation.
 */
export function formatPhrase(attempt: Attempt, refusal: Refusal): string {
  const verb = verbOf(refusal)
  const why = printable(explanation(refusal))
  const build = (who: string, reason: string): string =>
    `sallyport ${verb}${who && ` ${who}`}: ${refusal.code}${reason && `, ${reason}`} (id ${attempt.id})`
  const { target } = attempt
  const full = build(target ? authorityOf(target) : '', why)
  if (full.length <= MAX_PHRASE_BYTES) return full

  const who = target ? withoutUsualPort(target) : ''
  const room =
    MAX_PHRASE_BYTES - build(who && '-', why && '-').length + (who && '-').length + (why && '-').length
  if (who.length + why.length <= room) return build(who, why)
  const whoRoom = Math.max(room - why.length, Math.min(who.length, SHORTEST_HOST))
  return build(elide(who, whoRoom), elide(why, room - Math.min(who.length, whoRoom)))
}

/** A host is not shortened below this for the sake of the explanation. */
const SHORTEST_HOST = 40

/** One sentence for the body: what, which rule, what to do, id. */
export function formatSentence(attempt: Attempt, refusal: Refusal): string {
  const { meaning, advice } = outcome(refusal.code)
  const who = attempt.target ? ` ${authorityOf(attempt.target)}` : ''
  const reason = explanation(refusal)
  return `sallyport ${verbOf(refusal)}${who}: ${refusal.code}: ${meaning}${reason && ` (${reason})`}; ${advice}; id ${attempt.id}`
}

function withoutUsualPort(target: { host: string; port: number }): string {
  return target.port === 443 ? authorityOf(target).slice(0, -':443'.length) : authorityOf(target)
}

/** Shortens to `max` characters by leaving out the middle. */
function elide(text: string, max: number): string {
  if (text.length <= max) return text
  const tail = Math.floor((max - 3) / 2)
  return `${text.slice(0, max - 3 - tail)}...${text.slice(text.length - tail)}`
}
