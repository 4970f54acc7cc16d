/** Reads the presets that ship with the program. */
import { readdirSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { parse } from 'yaml'
import { parsePreset, type Preset } from './preset.ts'

const FOLDER = new URL('../../config/presets/', import.meta.url)

/** All bundled presets, oldest first. Throws when the installation is damaged. */
export function readBundledPresets(): readonly Preset[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => parsePreset(basename(file, '.yaml'), parse(readFileSync(new URL(file, FOLDER), 'utf8'))))
    .toSorted((a, b) => a.date.localeCompare(b.date))
}
