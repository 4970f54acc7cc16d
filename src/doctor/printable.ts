/**
 * Text from the network as it may be shown: one line of printable characters. Names in certificates are written in many
 * scripts; letters of the Latin script stay, everything else (controls, line ends, bidirectional marks) is escaped.
 */
export function printable(text: string, max = 160): string {
  return printableAsIs(text, max, (plain) => plain.replaceAll('\\', '\\\\'))
}

/** The same with backslashes as they are, for what has to be found again as it is written; it may look like an escape. */
export function printableAsIs(text: string, max = 160, plain = (part: string): string => part): string {
  const characters = Array.from(text)
  const shown = plain(characters.slice(0, max).join(''))
  const escaped = shown.replace(
    /[^\x20-\x7e\p{Script=Latin}]/gu,
    (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
  )
  return characters.length > max ? `${escaped}…` : escaped
}
