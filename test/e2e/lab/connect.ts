import { connect } from 'node:net'

/**
 * What comes back for one CONNECT: the reply's first line, `refused` when nobody listens, or an empty line when
 * the connection ends without a word.
 */
export const firstLineFor = (port: number, target: string): Promise<string> =>
  new Promise((resolve) => {
    let text = ''
    const finish = (line: string): void => {
      socket.destroy()
      resolve(line)
    }
    const socket = connect({ port, host: '127.0.0.1' })
    socket.setEncoding('latin1').setTimeout(10_000, () => finish('silence'))
    socket.on('data', (chunk: string) => {
      text += chunk
      if (text.includes('\r\n')) finish(text.split('\r\n')[0] ?? '')
    })
    socket.once('end', () => finish(text))
    socket.once('error', (error) => {
      finish('code' in error && error.code === 'ECONNREFUSED' ? 'refused' : error.message)
    })
    socket.write(`CONNECT ${target} HTTP/1.1\r\nHost: ${target}\r\nUser-Agent: e2e\r\n\r\n`)
  })
