/** `sallyport audit verify FILE…`: follows the hash chain and names the first bad record. */
import { stat } from 'node:fs/promises'
import { readLines } from '../audit/read-lines.ts'
import { GENESIS } from '../audit/ledger.ts'
import { at, ChainVerifier, type Verdict } from '../audit/verify.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { showShare } from './share-progress.ts'

export interface AuditVerifyOptions {
  readonly head?: string
  readonly from?: string
  readonly sink?: string
  readonly json?: boolean
}

export async function auditVerify(
  files: readonly string[],
  options: AuditVerifyOptions,
  io: Io,
): Promise<ExitCode> {
  const head = options.head === undefined ? undefined : readHash(options.head)
  const from = options.from === 'start' ? GENESIS : options.from && readHash(options.from)
  for (const [option, given, hash] of [
    ['--head takes', options.head, head],
    ['--from takes start, or', options.from, from],
  ] as const) {
    if (given === undefined || hash) continue
    io.stderr.write(`sallyport: ${option} sha256:… as a record or an earlier run of this command shows it\n`)
    return EXIT.usage
  }
  const verifier = new ChainVerifier({ head, from, sink: options.sink })
  let file = ''
  let line = 0
  let total = 0
  let progress = showShare(io.stderr, 0)
  try {
    for (file of files) total += (await stat(file)).size
    progress = showShare(io.stderr, total)
    for (file of files) {
      line = 0
      for await (const lines of readLines(file, progress.add)) {
        for (const { bytes, ended } of lines) {
          line += 1
          verifier.line(bytes, file, line, ended)
        }
      }
    }
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    if (!code.startsWith('Z_')) {
      progress.stop()
      io.stderr.write(
        `sallyport: cannot read ${file}: ${error instanceof Error ? error.message : String(error)}\n`,
      )
      return EXIT.usage
    }
    verifier.damaged(file, line + 1, error instanceof Error ? error.message : code)
  }
  progress.stop()
  const verdict = verifier.end()
  // A trail without a record proves nothing.
  const ok = verdict.findings === 0 && verdict.records > 0
  io.stdout.write(options.json ? `${formatJson(verdict, ok, files)}\n` : formatText(verdict, files))
  return ok ? EXIT.ok : EXIT.finding
}

function readHash(text: string): string | undefined {
  const [, hex] = /^(?:sha256:)?([0-9a-f]{64})$/i.exec(text) ?? []
  return hex && `sha256:${hex.toLowerCase()}`
}

function formatJson(verdict: Verdict, ok: boolean, files: readonly string[]): string {
  const { records, findings, first, lost, begin, head, anchor, notes } = verdict
  return JSON.stringify({
    ok,
    files: files.length,
    records,
    findings,
    first: first && {
      file: first.file,
      line: first.line,
      sequence: first.sequence,
      kind: first.kind,
      message: first.message,
    },
    lost,
    begin,
    head,
    anchor,
    notes,
  })
}

function formatText(verdict: Verdict, files: readonly string[]): string {
  const { records, findings, first, begin, head, anchor, notes } = verdict
  const read = `${records} record${records === 1 ? '' : 's'} in ${files.length} file${files.length === 1 ? '' : 's'}`
  const lines: string[] = []
  if (first) {
    lines.push(`${at(first)} ${first.message}`)
    if (findings > 1) lines.push(`the first of ${findings} places where the trail is broken`)
    lines.push(`broken: ${read}`)
  } else if (records === 0) lines.push(`nothing to verify: ${read}`)
  else {
    lines.push(`whole: ${read}`)
    if (begin && begin.prev !== GENESIS)
      lines.push(`begins behind ${begin.prev}, at number ${begin.sequence}; --from tells whether it should`)
    if (anchor) lines.push(`the head that was asked for is at ${at(anchor)}`)
  }
  if (head !== undefined) lines.push(`head: ${head}`)
  return [...lines, ...notes.map((note) => `note: ${note}`), ''].join('\n')
}
