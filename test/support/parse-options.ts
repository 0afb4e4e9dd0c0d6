import { parseArgs, type ParseArgsOptionsConfig } from "node:util";
import { messageOf } from "@lacewing/runtime/errors.ts";

/** Wrong usage, as `sysexits.h` numbers it. */
const EXIT_USAGE = 64;

/** Options and positionals of this process; one that nobody knows ends it with a sentence instead of a stack. */
export function parseOptions<const Options extends ParseArgsOptionsConfig>(options: Options) {
  try {
    return parseArgs({ allowPositionals: true, options });
  } catch (error) {
    process.stderr.write(`${messageOf(error)}\nSee --help.\n`);
    process.exit(EXIT_USAGE);
  }
}

/** A count that an option gives. Anything else ends the process with a sentence. */
export function countOf(option: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  process.stderr.write(`--${option} ${text}: write a whole number above 0\n`);
  process.exit(EXIT_USAGE);
}
