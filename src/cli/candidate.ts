/** The policy to come, read from the file that `policy.candidate` names: a whole configuration. */
import { formatIssue } from '../config/issue.ts'
import type { Config } from '../config/load.ts'
import { ConfiguredFileError } from './client-files.ts'
import { readConfig } from './read-config.ts'

/** Nothing where none is named. Throws {@link ConfiguredFileError} with the first thing that is wrong with it. */
export function readCandidate({ candidate }: Config): Config | undefined {
  if (candidate === null) return undefined
  const read = readConfig(candidate)
  switch (read.kind) {
    case 'config':
      return read.config
    case 'unreadable':
      throw new ConfiguredFileError(`policy.candidate: ${read.message}`)
    case 'invalid': {
      const [first] = read.issues
      throw new ConfiguredFileError(
        `policy.candidate: ${first ? formatIssue(first) : candidate}; validate it with \`sallyport validate ${candidate}\``,
      )
    }
  }
}
