/**
 * Text from the network as it may be shown: one line of printable characters. Names in certificates are written in many
 * scripts; letters of the Latin script stay, everything else (controls, line ends, bidirectional marks) is escaped.
 */
export function printable(text: string, max = 160): string {
  const characters = Array.from(text)
  const shown = characters.slice(0, max).join('')
  const escaped = shown.replace(/[^\x20-\x7e\p{Script=Latin}]|\\/gu, (character) =>
    character === '\\' ? '\\\\' : `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  )
  return characters.length > max ? `${escaped}…` : escaped
}
