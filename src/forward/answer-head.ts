/** The head of an answer as it goes on to the client. */
import type { IncomingMessage } from 'node:http'
import { connectionOptions, endsHere, PSEUDONYM } from './request-head.ts'

/** What Node's parser takes for a reason phrase may be more than its server sends. */
const PHRASE = /^[\t\x20-\x7e\x80-\xff]*$/

/** Takes out what ends at this hop, and adds Via. False where it is no answer that could be sent. */
export function tidyAnswer(answer: IncomingMessage): boolean {
  const { headers } = answer
  const named = connectionOptions([headers.connection ?? ''])
  for (const name of Object.keys(headers)) if (endsHere(name, named)) delete headers[name]
  headers['via'] = [
    ...(headers['via'] === undefined ? [] : [headers['via']]),
    `${answer.httpVersion} ${PSEUDONYM}`,
  ].join(', ')
  if (!PHRASE.test(answer.statusMessage ?? '')) answer.statusMessage = ''
  const possible = (answer.statusCode ?? 0) >= 200
  // http-proxy copies it in any case, and Node throws for one that is impossible.
  if (!possible) answer.statusCode = 502
  return possible
}
