/** Entries of a password file, at the least cost that the file may have, and the file itself. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { formatEntry, type PasswordEntry } from '../../src/proxy/password-file.ts'
import { hashPassword } from '../../src/proxy/verify-password.ts'

export async function makeEntry(user: string, password: string): Promise<PasswordEntry> {
  const cost = { ln: 14, r: 8, p: 1 }
  const salt = randomBytes(16)
  return { user, cost, salt, hash: await hashPassword(password, { cost, salt, length: 32 }) }
}

/** Writes a password file for the running test. */
export async function passwordFile(users: Readonly<Record<string, string>>): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-passwords-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const entries = await Promise.all(
    Object.entries(users).map(([user, password]) => makeEntry(user, password)),
  )
  const path = join(folder, 'passwords')
  writeFileSync(path, entries.map((entry) => `${formatEntry(entry)}\n`).join(''), { mode: 0o600 })
  return path
}

export function proxyAuthorization(user: string, password: string): string {
  return `Proxy-Authorization: Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}
