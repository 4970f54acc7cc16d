/** One message a datagram (RFC 5426). Nobody says whether it arrives; what the system itself refuses is known. */
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { Outlet, Sent } from './queued-sink.ts'

export interface DatagramOutletOptions {
  readonly host: string
  readonly port: number
  readonly format: (line: string) => Buffer
}

export class DatagramOutlet implements Outlet {
  readonly #options: DatagramOutletOptions
  #socket: Socket | undefined

  constructor(options: DatagramOutletOptions) {
    this.#options = options
  }

  send(lines: readonly string[], done: (sent: Sent) => void): void {
    if (this.#socket) {
      this.#sendFrom(this.#socket, lines, 0, done)
      return
    }
    const { host, port } = this.#options
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4').unref()
    const onError = (error: Error): void => {
      socket.close()
      done({ delivered: 0, failure: codeOf(error) })
    }
    socket.once('error', onError)
    // Connected, so that a port where nobody listens is told of.
    socket.connect(port, host, () => {
      socket.off('error', onError)
      socket.on('error', () => undefined)
      this.#socket = socket
      this.#sendFrom(socket, lines, 0, done)
    })
  }

  #sendFrom(socket: Socket, lines: readonly string[], index: number, done: (sent: Sent) => void): void {
    const line = lines[index]
    if (line === undefined) {
      done({ delivered: index })
      return
    }
    socket.send(this.#options.format(line), (error) => {
      if (!error) this.#sendFrom(socket, lines, index + 1, done)
      else if (codeOf(error) === 'EMSGSIZE') {
        // It will never fit.
        done({ delivered: index + 1, rejected: 1, failure: 'EMSGSIZE' })
      } else {
        this.#socket = undefined
        socket.close()
        done({ delivered: index, failure: codeOf(error) })
      }
    })
  }
}

function codeOf(error: Error): string {
  return 'code' in error ? String(error.code) : error.message
}
