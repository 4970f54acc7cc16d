/**
 * Verifies passwords with scrypt, off the event loop and with its cost bounded: a credential that was verified once
 * is known by a keyed hash of it, the same one is never worked on twice at a time, few run at once, and few wait. So a
 * flood of guesses costs a bounded amount of memory and of the thread pool, and nothing to clients known already.
 */
import { createHmac, randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { DEFAULT_COST, HASH_BYTES, memoryOf, SALT_BYTES, type PasswordEntry } from './password-file.ts'

/** `busy`: too many verifications are under way to take this one. */
export type PasswordVerdict = 'right' | 'wrong' | 'busy'

/** At once where the credential was seen before, else with a promise that never rejects. */
export type VerifyPassword = (
  credentials: Credentials,
  client: string,
) => PasswordVerdict | Promise<PasswordVerdict>

export interface Credentials {
  readonly user: string
  readonly password: string
}

export interface VerifyLimits {
  /** Verifications that run at once; each holds a thread of four and some 32 MiB. */
  readonly running: number
  /** Verifications that may wait for their turn. */
  readonly waiting: number
  /** Running and waiting ones of one client address, where others wait. */
  readonly perClient: number
  /** Wrong credentials remembered, least recently used out first; the right ones are as many as there are users. */
  readonly wrong: number
}

const LIMITS: VerifyLimits = { running: 2, waiting: 32, perClient: 8, wrong: 1024 }

export function createVerifier(
  entries: ReadonlyMap<string, PasswordEntry>,
  limits: VerifyLimits = LIMITS,
): VerifyPassword {
  /** Known to this process alone, so that what is remembered is worth nothing to who reads it. */
  const key = randomBytes(32)
  const right = new Set<string>()
  /** Apart from the right ones, which no flood of guesses can push out. */
  const wrong = new LRUCache<string, true>({ max: limits.wrong })
  const underWay = new Map<string, Promise<PasswordVerdict>>()
  const perClient = new Map<string, number>()
  const queue: (() => void)[] = []
  /** An unknown user takes as long as a known one: nobody learns from the time which names exist. */
  const nobody: PasswordEntry = {
    user: '',
    cost: entries.values().next().value?.cost ?? DEFAULT_COST,
    salt: randomBytes(SALT_BYTES),
    hash: randomBytes(HASH_BYTES),
  }
  let running = 0

  async function verify(
    id: string,
    { user, password }: Credentials,
    client: string,
  ): Promise<PasswordVerdict> {
    if (running >= limits.running) {
      await new Promise<void>((resolve) => {
        queue.push(resolve)
      })
    } else running += 1
    try {
      const entry = entries.get(user)
      const same = await matches(password, entry ?? nobody)
      if (same && entry) {
        right.add(id)
        return 'right'
      }
      wrong.set(id, true)
      return 'wrong'
    } catch {
      // No memory for it, most likely: not verified, and not remembered.
      return 'busy'
    } finally {
      underWay.delete(id)
      const left = (perClient.get(client) ?? 1) - 1
      if (left > 0) perClient.set(client, left)
      else perClient.delete(client)
      // The next one takes this place.
      const next = queue.shift()
      if (next) next()
      else running -= 1
    }
  }

  return (credentials, client) => {
    const id = createHmac('sha256', key)
      .update(`${credentials.user}\0${credentials.password}`)
      .digest('base64')
    if (right.has(id)) return 'right'
    if (wrong.has(id)) return 'wrong'
    const sameOne = underWay.get(id)
    if (sameOne) return sameOne
    const mine = perClient.get(client) ?? 0
    if (running >= limits.running && (queue.length >= limits.waiting || mine >= limits.perClient)) {
      return 'busy'
    }
    perClient.set(client, mine + 1)
    const result = verify(id, credentials, client)
    underWay.set(id, result)
    return result
  }
}

function matches(password: string, { cost, salt, hash }: PasswordEntry): Promise<boolean> {
  return hashPassword(password, { cost, salt, length: hash.length }).then((found) =>
    timingSafeEqual(found, hash),
  )
}

/** scrypt (RFC 7914) in the thread pool. */
export function hashPassword(
  password: string,
  { cost, salt, length }: Pick<PasswordEntry, 'cost' | 'salt'> & { readonly length: number },
): Promise<Buffer> {
  const { r, p } = cost
  const options = { N: 2 ** cost.ln, r, p, maxmem: 2 * memoryOf(cost) }
  return new Promise((resolve, reject) => {
    scrypt(password, salt, length, options, (error, derived) => {
      if (error) reject(error)
      else resolve(derived)
    })
  })
}
