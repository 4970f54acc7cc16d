/** Which links lead to a file, with real ones. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { beforeEach, expect, test } from 'vitest'
import { placesOf } from '../../src/cli/places-of.ts'

let folder: string
beforeEach(() => {
  folder = realpathSync(mkdtempSync(join(tmpdir(), 'sallyport-places-')))
  return () => rmSync(folder, { recursive: true, force: true })
})

const inFolder = (path: string): readonly string[] =>
  placesOf(join(folder, path)).map((place) => relative(folder, place))

test('a file without links is where it is, also named from here and with detours', () => {
  mkdirSync(join(folder, 'a'))
  writeFileSync(join(folder, 'a', 'file'), '')
  expect(inFolder('a/file')).toEqual(['a/file'])
  expect(placesOf(relative(process.cwd(), join(folder, 'a', 'file')))).toEqual([join(folder, 'a', 'file')])
  expect(placesOf(`${folder}/./a//../a/file`)).toEqual([join(folder, 'a', 'file')])
})

test('each link on the way counts, of folders and of the file, relative and absolute', () => {
  mkdirSync(join(folder, 'v1', 'etc'), { recursive: true })
  writeFileSync(join(folder, 'v1', 'etc', 'real'), '')
  symlinkSync('real', join(folder, 'v1', 'etc', 'file'))
  symlinkSync('v1', join(folder, 'current'))
  symlinkSync(join(folder, 'current'), join(folder, 'outer'))
  expect(inFolder('outer/etc/file')).toEqual(['outer', 'current', 'v1/etc/file', 'v1/etc/real'])
})

test('the parent of a link is the parent of where it leads', () => {
  mkdirSync(join(folder, 'a', 'b'), { recursive: true })
  writeFileSync(join(folder, 'a', 'file'), '')
  symlinkSync('a/b', join(folder, 'link'))
  expect(placesOf(`${folder}/link/../file`)).toEqual([join(folder, 'link'), join(folder, 'a', 'file')])
})

test('the way ends with the first part that is missing, and circles end', () => {
  expect(inFolder('no/such/file')).toEqual(['no'])
  symlinkSync('nowhere/file', join(folder, 'dangling'))
  expect(inFolder('dangling')).toEqual(['dangling', 'nowhere'])
  symlinkSync('circle', join(folder, 'circle'))
  expect(new Set(inFolder('circle'))).toEqual(new Set(['circle', '']))
})
