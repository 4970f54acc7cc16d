/** `sallyport passwd NAME`: makes a line for the file that `clients.passwords` names. */
import { randomBytes } from 'node:crypto'
import { isUserName } from '../policy/clients.ts'
import { DEFAULT_COST, formatEntry, HASH_BYTES, SALT_BYTES } from '../proxy/password-file.ts'
import { hashPassword } from '../proxy/verify-password.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'

export interface PasswdOptions {
  readonly generate?: boolean
}

/** Where the password comes from: a terminal is asked, anything else is read up to its first line's end. */
export type PasswordInput = NodeJS.ReadStream

/** Bytes of a generated password: 144 bits, so that no cost of hashing is what protects it. */
const GENERATED_BYTES = 18
const MIN_LENGTH = 8
const MAX_LENGTH = 256

export async function passwd(
  user: string,
  { generate }: PasswdOptions,
  io: Io,
  input: PasswordInput = process.stdin,
): Promise<ExitCode> {
  const refuse = (why: string): ExitCode => {
    io.stderr.write(`sallyport: ${why}\n`)
    return EXIT.usage
  }
  if (!isUserName(user))
    return refuse('a user name has letters, digits and . _ @ - (64 at most), and starts with one')
  const password = generate
    ? randomBytes(GENERATED_BYTES).toString('base64url')
    : await readPassword(input, io)
  if (password === undefined) return refuse('the two are not the same, or nothing was written')
  if (password.length < MIN_LENGTH) return refuse(`a password has at least ${MIN_LENGTH} characters`)
  // The proxy refuses these in credentials (RFC 7617), so nobody could log in with them.
  if (password.length > MAX_LENGTH || /\p{Cc}/u.test(password)) {
    return refuse(`a password has no control characters, and at most ${MAX_LENGTH}`)
  }
  const salt = randomBytes(SALT_BYTES)
  const hash = await hashPassword(password, { cost: DEFAULT_COST, salt, length: HASH_BYTES })
  if (generate) io.stderr.write(`${password}\n`)
  io.stdout.write(`${formatEntry({ user, cost: DEFAULT_COST, salt, hash })}\n`)
  return EXIT.ok
}

async function readPassword(input: PasswordInput, io: Io): Promise<string | undefined> {
  if (!input.isTTY) return firstLine(input)
  const first = await askHidden('Password: ', input, io)
  if (first === undefined) return undefined
  return (await askHidden('Again: ', input, io)) === first ? first : undefined
}

async function firstLine(input: PasswordInput): Promise<string | undefined> {
  let text = ''
  for await (const chunk of input.setEncoding('utf8')) {
    text += String(chunk)
    if (text.includes('\n') || text.length > 4 * MAX_LENGTH) break
  }
  const line = text.split('\n')[0]?.replace(/\r$/, '')
  return line === '' ? undefined : line
}

/** Reads a line without showing it; nothing on Ctrl-C or Ctrl-D. */
function askHidden(prompt: string, input: PasswordInput, io: Io): Promise<string | undefined> {
  io.stderr.write(prompt)
  input.setRawMode(true)
  input.setEncoding('utf8')
  input.resume()
  return new Promise((resolve) => {
    let typed = ''
    const settle = (line: string | undefined): void => {
      input.off('data', onData)
      input.off('end', onEnd)
      input.setRawMode(false)
      input.pause()
      io.stderr.write('\n')
      resolve(line)
    }
    const onEnd = (): void => settle(undefined)
    const onData = (chunk: string): void => {
      for (const character of chunk) {
        if (character === '\r' || character === '\n') return settle(typed)
        if (character === '\u0003' || character === '\u0004') return settle(undefined)
        if (character === '\u007f' || character === '\b') typed = typed.slice(0, -1)
        else typed += character
      }
    }
    input.on('data', onData)
    input.on('end', onEnd)
  })
}
