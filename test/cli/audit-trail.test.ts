/** The trail of the real program: over workers, rotation, a kill and a restart it stays one chain, and verify says so. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { formerFiles } from '../../src/audit/former-files.ts'
import { hashLine } from '../../src/audit/hash-line.ts'
import { openProcessLab } from '../support/process-lab.ts'
import { run } from './run.ts'

function auditPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-trail-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'audit.ndjson')
}

const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').slice(0, -1)

test('two workers, several files: one chain, and standard output has the same lines', async () => {
  const path = auditPath()
  const lab = await openProcessLab()
  const gate = await lab.gate({
    workers: 2,
    audit: { file: { path, maxSize: '64KiB' } },
  })
  for (let round = 0; round < 30; round += 1) {
    await Promise.all(
      Array.from({ length: 10 }, (_, index) => lab.ask(gate, `h${round}-${index}.example:443`)),
    )
  }
  expect(await gate.stop()).toBe(0)
  const files = [
    ...formerFiles(path, readdirSync(join(path, '..'))).map((name) => join(path, '..', name)),
    path,
  ]
  expect(files.length).toBeGreaterThan(2)
  const lines = files.flatMap(linesOf)
  expect(gate.audit.lines).toEqual(lines)
  const rotations = gate.audit.records.filter(({ event }) => event.action === 'audit-rotated')
  expect(rotations.map(({ sallyport }) => sallyport['former'])).toEqual(
    files.slice(0, -1).map((file) => file.slice(join(path, '..').length + 1)),
  )
  expect(rotations.map(({ sallyport }) => sallyport['head'])).toEqual(
    files.slice(0, -1).map((file) => hashLine(linesOf(file).at(-1) ?? '')),
  )
  const head = hashLine(lines.at(-1) ?? '')
  expect(await run(['audit', 'verify', ...files, '--head', head])).toMatchObject({ code: 0 })
})

test('killed in the middle of a line: the next start says what was lost, and goes on', async () => {
  const path = auditPath()
  const lab = await openProcessLab()
  const settings = { audit: { file: path } }
  const first = await lab.gate(settings)
  await lab.ask(first, 'a.example:443')
  await lab.ask(first, 'b.example:443')
  await first.stop('SIGKILL')
  // As if the kill had come in the middle of the write.
  const text = readFileSync(path, 'utf8')
  const last = text.trimEnd().split('\n').at(-1) ?? ''
  truncateSync(path, Buffer.byteLength(text) - 1 - 200)

  const second = await lab.gate(settings)
  expect(await second.stop()).toBe(0)
  const [started, recovered] = second.audit.records
  expect(started?.sallyport).toMatchObject({ continues: started?.sallyport['prev'] })
  expect(recovered).toMatchObject({
    event: { action: 'audit-recovered' },
    sallyport: { sink: path, lost: 1, torn: { bytes: last.length - 200, text: last.slice(0, -200) } },
  })
  expect(linesOf(path).at(-1)).toBe(second.audit.lines.at(-1))
  const verified = await run(['audit', 'verify', path])
  expect(verified).toMatchObject({ code: 0, stderr: '' })
  expect(verified.stdout).toContain('is the last of a run that ended without gate-stopped')
})
