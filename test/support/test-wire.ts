/** The wire under test: the socket tests run once for each, as the vitest project says. */
import { chooseWire, type WireChoice } from '../../src/index.ts'

type Wire = WireChoice['wire']

export async function testWire(): Promise<Wire> {
  const wanted = process.env['SALLYPORT_TEST_WIRE'] === 'kernel' ? 'kernel' : 'portable'
  const { wire, fallback } = await chooseWire({
    wire: wanted,
    onBug(error) {
      throw error
    },
  })
  if (fallback !== undefined) throw new Error(`the kernel wire does not run here: ${fallback}`)
  return wire
}
