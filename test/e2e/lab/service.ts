import type { ChildProcess } from 'node:child_process'
import { launch } from './programs.ts'
import type { RunOptions } from './programs.ts'
import type { Scope } from './scope.ts'
import { eventually, within } from './wait.ts'

export interface Exit {
  code: number | null
  signal: NodeJS.Signals | null
}

/** A program that runs until it is told to stop. */
export interface Service {
  name: string
  child: ChildProcess
  stdout: () => string
  stderr: () => string
  exited: Promise<Exit>
  /** Set once it has ended. */
  exit: () => Exit | undefined
  stop: () => Promise<Exit>
}

export interface ServiceOptions extends RunOptions {
  name: string
  command: string
  args: readonly string[]
  ready: (service: Service) => boolean | Promise<boolean>
  readyMs?: number
  /** How long it may take to end by itself after SIGTERM. */
  stopMs?: number
}

/** Starts a program, stops it when the scope closes, and comes back when it is ready. */
export const startService = async (scope: Scope, options: ServiceOptions): Promise<Service> => {
  const { name, command, args, stopMs = 10_000 } = options
  const child = launch(command, args, options)
  let stdout = ''
  let stderr = ''
  let exit: Exit | undefined
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  const exited = new Promise<Exit>((resolve) => {
    child.once('close', (code, signal) => resolve((exit = { code, signal })))
    child.once('error', (error) => {
      stderr += String(error)
      resolve((exit = { code: null, signal: null }))
    })
  })
  const stop = async (): Promise<Exit> => {
    if (exit !== undefined) return exit
    child.kill('SIGTERM')
    try {
      return await within(`end of ${name}`, stopMs, exited)
    } catch {
      child.kill('SIGKILL')
      return within(`end of ${name} after SIGKILL`, 5_000, exited)
    }
  }
  const service: Service = {
    name,
    child,
    stdout: () => stdout,
    stderr: () => stderr,
    exited,
    exit: () => exit,
    stop,
  }
  scope.onClose(stop)
  await eventually(
    `start of ${name}`,
    options.readyMs ?? 15_000,
    async () => {
      if (exit !== undefined) throw new Error(`${name} ended at once (${exit.code})\n${stdout}\n${stderr}`)
      return options.ready(service)
    },
    () => `${stdout}\n${stderr}`,
  )
  return service
}
