import { type CliContext, DATA_OPTION, requireCluster } from "./context.ts";

/** Which scheduler a command talks to. */
export interface SchedulerFlags {
  readonly data?: string;
  readonly scheduler?: string;
}

/** The options of every command that talks to the scheduler. */
export const SCHEDULER_OPTIONS: readonly (readonly [flags: string, description: string])[] = [
  DATA_OPTION,
  ["--scheduler <host:port>", "scheduler to ask (default: the local cluster's)"],
];

/**
 * The address of the scheduler that the flags name.
 *
 * @throws {CliError} when none is named and no cluster is running.
 */
export function schedulerAddressOf(context: CliContext, flags: SchedulerFlags): string {
  return flags.scheduler ?? requireCluster(context, flags.data).cluster.schedulerAddress;
}
