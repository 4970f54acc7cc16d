/** Asks the admin listener of the gate that runs with a configuration. */
import { text } from 'node:stream/consumers'
import type { Config } from '../config/load.ts'
import { formatListenAddress } from '../config/units.ts'
import { get } from '../http.ts'
import { ConfiguredFileError, readAdminToken } from './client-files.ts'

/** A gate that is well answers in milliseconds. */
const TIMEOUT_MS = 3000

export type Asked =
  | { readonly kind: 'answer'; readonly status: number; readonly body: unknown; readonly from: string }
  /** There is nobody to ask: `why` says what to do. */
  | { readonly kind: 'nobody'; readonly why: string }

export async function askAdmin(admin: Config['admin'], path: string): Promise<Asked> {
  const { listen } = admin
  if (listen === null) return { kind: 'nobody', why: 'admin.listen is null, so there is nobody to ask' }
  const from = formatListenAddress({ host: reachable(listen.host), port: listen.port })
  try {
    const token = readAdminToken({ admin })
    const { status, body } = await request(`http://${from}${path}`, token)
    return { kind: 'answer', status, body: JSON.parse(body), from }
  } catch (error) {
    if (error instanceof ConfiguredFileError) return { kind: 'nobody', why: error.message }
    return { kind: 'nobody', why: `no gate answers at ${from}: ${whyNot(error)}` }
  }
}

/** Nobody connects to "every address". */
function reachable(host: string): string {
  if (host === '0.0.0.0') return '127.0.0.1'
  return host === '::' ? '::1' : host
}

function request(
  url: string,
  token: string | undefined,
): Promise<{ readonly status: number; readonly body: string }> {
  return new Promise((resolve, reject) => {
    const options = {
      agent: false,
      signal: AbortSignal.timeout(TIMEOUT_MS),
      headers: token === undefined ? {} : { Authorization: `Bearer ${token}` },
    }
    get(url, options, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode ?? 0, body }), reject)
    }).once('error', reject)
  })
}

function whyNot(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  if (error.name === 'AbortError' || error.name === 'TimeoutError')
    return `nothing within ${TIMEOUT_MS / 1000} s`
  if (error instanceof SyntaxError) return 'what answers there is not Sallyport'
  return 'code' in error ? String(error.code) : error.message
}
