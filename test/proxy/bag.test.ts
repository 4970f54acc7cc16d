import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Bag, type Placed } from '../../src/proxy/bag.ts'

interface Thing extends Placed {
  readonly name: number
}

test('has what a Set would have, whatever comes and goes', () => {
  const steps = fc.array(fc.tuple(fc.constantFrom('add', 'remove'), fc.nat(20)), { maxLength: 200 })
  fc.assert(
    fc.property(steps, (played) => {
      const things: readonly Thing[] = Array.from({ length: 21 }, (_, name) => ({ name, place: 0 }))
      const bag = new Bag<Thing>()
      const set = new Set<Thing>()
      for (const [step, index] of played) {
        const thing = things[index]
        if (!thing) continue
        if (step === 'remove') {
          bag.remove(thing)
          set.delete(thing)
        } else if (!set.has(thing)) {
          bag.add(thing)
          set.add(thing)
        }
      }
      expect(bag.size).toBe(set.size)
      expect(new Set(bag)).toEqual(set)
    }),
  )
})

test('is walked as it was at the beginning, though each that is visited goes', () => {
  const bag = new Bag<Thing>()
  for (let name = 0; name < 5; name += 1) bag.add({ name, place: 0 })
  const visited: number[] = []
  for (const thing of bag) {
    visited.push(thing.name)
    bag.remove(thing)
  }
  expect(visited).toEqual([0, 1, 2, 3, 4])
  expect(bag.size).toBe(0)
})
