import { parseArgs } from "node:util";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { parseRate, parseSizes } from "../support/units.ts";

export interface DemoOptions {
  readonly sizes: readonly number[];
  /** Cap of the origin's link in bytes per second; `undefined` = none. */
  readonly originRate: number | undefined;
  readonly via: "url_prefix" | "http_proxy";
  readonly isJson: boolean;
  readonly svgFile: string;
  readonly isKept: boolean;
}

/** The command line cannot be understood; the message says what is right. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export const HELP = `npm run demo -- [options]

Repeats the experiment of the document that Lacewing was made from: a real Git LFS client downloads large files
directly, through a cluster that holds nothing yet, from another peer's cache, and from the local peer's cache.

  --sizes LIST        sizes of the files, e.g. 64M,256M (default) or 512M,1G as in the document
  --origin-rate RATE  bandwidth of the origin, e.g. 12.5MB/s (default), 100Mbit/s, unlimited
  --via WAY           url-prefix (default) or http-proxy, as in the document
  --svg FILE          where the bar chart goes (default demo.svg)
  --json              figures for machines on standard output
  --keep              leave clones, repositories and cluster data on disk, and print where
  --help
`;

/** Larger files than this are a mistyped unit. */
const SIZE_BYTES_MAX = 64 * 2 ** 30;

/** @returns `"help"` when help was asked for. @throws {UsageError} */
export function parseOptions(args: readonly string[]): DemoOptions | "help" {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        sizes: { type: "string", default: "64M,256M" },
        "origin-rate": { type: "string", default: "12.5MB/s" },
        via: { type: "string", default: "url-prefix" },
        svg: { type: "string", default: "demo.svg" },
        json: { type: "boolean", default: false },
        keep: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    if (values.help) return "help";
    const sizes = parseSizes(values.sizes);
    const tooLarge = sizes.find((size) => size > SIZE_BYTES_MAX);
    if (tooLarge !== undefined) {
      throw new RangeError(`size ${tooLarge} B is larger than ${SIZE_BYTES_MAX} B`);
    }
    return {
      sizes,
      originRate: parseRate(values["origin-rate"]),
      via: parseVia(values.via),
      isJson: values.json,
      svgFile: values.svg,
      isKept: values.keep,
    };
  } catch (error) {
    throw new UsageError(`${messageOf(error)}\n\n${HELP}`, { cause: error });
  }
}

function parseVia(text: string): DemoOptions["via"] {
  if (text === "url-prefix") return "url_prefix";
  if (text === "http-proxy") return "http_proxy";
  throw new RangeError(`--via ${text}: write url-prefix or http-proxy`);
}
