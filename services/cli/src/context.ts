import {
  checkoutRoot,
  dataHome,
  type DataDirChoice,
  readOwner,
  resolveDataDir,
} from "@lacewing/local/data-dir.ts";
import { type ClusterFile, readClusterFile } from "@lacewing/local/cluster-file.ts";
import { CliError } from "./cli-error.ts";

/** What every command is given: the only way to the outside. */
export interface CliContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Writes a line to standard output: the command's result. */
  readonly print: (text: string) => void;
  /** Writes a line to standard error: progress, notes, problems. */
  readonly note: (text: string) => void;
  /** Standard output as it is, for content. */
  readonly output: NodeJS.WritableStream;
  /** Whether standard output is a terminal: progress bars and colours only then. */
  readonly isTerminal: boolean;
}

/** The `--data` option, the same for every command that needs a cluster. */
export const DATA_OPTION = [
  "--data <dir>",
  "directory of the local cluster (default: the one this checkout uses)",
] as const;

/** The `--json` option. */
export const JSON_OPTION = ["--json", "print JSON for programs"] as const;

/** Where the cluster of this checkout lives, running or not. */
export function dataDirOf(context: CliContext, explicit: string | undefined): DataDirChoice {
  return resolveDataDir({
    explicit,
    home: dataHome(context.env),
    checkout: checkoutRoot(),
    ownerOf: readOwner,
  });
}

/**
 * The running local cluster.
 *
 * @throws {CliError} when none is ready there.
 */
export function requireCluster(
  context: CliContext,
  explicit: string | undefined,
): { readonly dataDir: string; readonly cluster: ClusterFile } {
  const { dataDir } = dataDirOf(context, explicit);
  const cluster = readClusterFile(dataDir);
  if (cluster === undefined) {
    throw new CliError(
      `no cluster is running in ${dataDir}`,
      "Start one with `npm start` (or `npx lacewing up`), or name its directory with --data DIR.",
    );
  }
  return { dataDir, cluster };
}
