/** Which wire is chosen, and what is said when it is not the one that was wished for. */
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, rm, symlink, mkdir } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { chooseWire } from '../../src/wire/choose.ts'
import * as libcModule from '../../src/wire/kernel/libc.ts'
import { CheckedLibc, type Call, type Errno } from '../support/checked-libc.ts'
import { within } from '../support/deadline.ts'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const { isSupportedPlatform } = libcModule

/** The libc that the next choice gets; the real one when there is none. */
const given = vi.hoisted((): { libc?: unknown } => ({}))
vi.mock('../../src/wire/kernel/libc.ts', async (importOriginal) => {
  const original = await importOriginal<typeof libcModule>()
  return { ...original, loadLibc: async () => given.libc ?? (await original.loadLibc()) }
})
afterEach(() => {
  delete given.libc
})

async function choose(wire: 'auto' | 'kernel' | 'portable' = 'auto') {
  const bugs: unknown[] = []
  const choice = await within(chooseWire({ wire, onBug: (error) => bugs.push(error) }), 'the choice')
  expect(bugs).toEqual([])
  return choice
}

/** A copy of the sources whose node_modules has everything but koffi, and what is put in its place. */
async function copyWithoutKoffi(): Promise<string> {
  const copy = await mkdtemp(join(tmpdir(), 'sallyport-wire-'))
  onTestFinished(() => rm(copy, { recursive: true, force: true }))
  await cp(join(ROOT, 'src'), join(copy, 'src'), { recursive: true })
  await cp(join(ROOT, 'package.json'), join(copy, 'package.json'))
  await mkdir(join(copy, 'node_modules'))
  // Where the modules are: in a checkout, beside the sources.
  const modules = join(createRequire(import.meta.url).resolve('zod/package.json'), '../..')
  for (const name of await readdir(modules)) {
    if (name === 'koffi' || name === '@koromix') continue
    await symlink(join(modules, name), join(copy, 'node_modules', name))
  }
  return copy
}

/** What a process of its own chooses. */
async function chooseIn(copy: string, wire: 'auto' | 'kernel'): Promise<{ name: string; fallback?: string }> {
  const script = `
    const { chooseWire } = await import(${JSON.stringify(join(copy, 'src/wire/choose.ts'))})
    const { wire, fallback } = await chooseWire({ wire: '${wire}', onBug(error) { throw error } })
    const listener = await wire.listen({ host: '127.0.0.1', port: 0 }, () => undefined)
    await listener.close()
    console.log(JSON.stringify({ name: wire.name, fallback }))`
  const { stdout } = await run(process.execPath, ['--input-type=module', '--eval', script], {
    timeout: 15_000,
  })
  return JSON.parse(stdout)
}

describe('the choice of the wire', () => {
  test('is the portable one when that is wished, without a reason', async () => {
    const choice = await choose('portable')
    expect(choice.wire.name).toBe('portable')
    expect(choice.fallback).toBeUndefined()
  })

  test.runIf(isSupportedPlatform())('is the kernel one where it runs', async () => {
    for (const wish of ['auto', 'kernel'] as const) {
      const choice = await choose(wish)
      expect(choice.fallback).toBeUndefined()
      expect(choice.wire.name).toBe('kernel')
      if ('dispose' in choice.wire && typeof choice.wire.dispose === 'function') choice.wire.dispose()
    }
  })

  test.runIf(isSupportedPlatform()).each(['auto', 'kernel'] as const)(
    'without koffi, %s is the portable one, and says why',
    async (wire) => {
      const chosen = await chooseIn(await copyWithoutKoffi(), wire)
      expect(chosen.name).toBe('portable')
      expect(chosen.fallback).toMatch(/koffi/)
      expect(chosen.fallback).not.toContain('\n')
    },
  )

  test.runIf(isSupportedPlatform())('with a koffi that cannot be loaded, too', async () => {
    const copy = await copyWithoutKoffi()
    const koffi = join(copy, 'node_modules/koffi')
    await mkdir(koffi)
    const { writeFile } = await import('node:fs/promises')
    await writeFile(join(koffi, 'package.json'), '{"name":"koffi","version":"3.0.0","main":"index.js"}')
    await writeFile(join(koffi, 'index.js'), 'throw new Error("Cannot find the native Koffi module\\nmore")')
    expect(await chooseIn(copy, 'auto')).toEqual({
      name: 'portable',
      fallback: 'Cannot find the native Koffi module',
    })
  })
})

describe.runIf(isSupportedPlatform())('a kernel that refuses', () => {
  test.each<[Call, Errno, RegExp]>([
    ['epollCreate1', 'ENOSYS', /epoll_create1: ENOSYS/],
    ['epollCtl', 'EPERM', /EPERM/],
    ['epollWait', 'ENOSYS', /took longer/],
    ['socket', 'EPERM', /EPERM/],
    ['bind', 'EACCES', /EACCES/],
    ['accept4', 'ENOSYS', /took longer/],
    ['connect', 'EPERM', /cannot connect: EPERM/],
    ['recv', 'EPERM', /./],
    ['send', 'EPERM', /./],
    ['shutdown', 'EPERM', /./],
    ['splice', 'EPERM', /./],
  ])('%s, with %s: the portable wire, the reason, and nothing left open', async (call, errno, reason) => {
    const checked = new CheckedLibc(await libcModule.loadLibc())
    checked.fail(call, errno)
    given.libc = checked.libc
    const choice = await choose()
    expect(choice.wire.name).toBe('portable')
    expect(choice.fallback).toMatch(reason)
    // The self-test's last steps may still be on their way.
    await new Promise((resolve) => {
      setTimeout(resolve, 50)
    })
    expect([...checked.open]).toEqual([])
    expect(checked.violations).toEqual([])
  })

  test.each<[Call, Errno]>([
    ['pipe2', 'EMFILE'],
    ['fcntl', 'EPERM'],
    ['setsockopt', 'ENOPROTOOPT'],
  ])('%s, with %s: the kernel wire does without', async (call, errno) => {
    const checked = new CheckedLibc(await libcModule.loadLibc())
    const fault = checked.fail(call, errno)
    given.libc = checked.libc
    const choice = await choose()
    expect(choice.fallback).toBeUndefined()
    expect(choice.wire.name).toBe('kernel')
    expect(fault.hits).toBeGreaterThan(0)
    if ('dispose' in choice.wire && typeof choice.wire.dispose === 'function') choice.wire.dispose()
    expect([...checked.open]).toEqual([])
  })
})
