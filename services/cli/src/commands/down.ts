import { canonicalPath, readOwner } from "@lacewing/local/data-dir.ts";
import { isOwnerDamaged, purgeDamaged } from "@lacewing/local/damaged-dir.ts";
import { purgeData, purgeShared, stopCluster } from "@lacewing/local/leftovers.ts";
import type { Command } from "commander";
import { existsSync } from "node:fs";
import { CliError } from "../cli-error.ts";
import { type CliContext, DATA_OPTION, dataDirOf } from "../context.ts";

interface DownFlags {
  readonly data?: string;
  readonly purge?: true;
}

export function registerDown(program: Command, context: CliContext): void {
  program
    .command("down")
    .description("stop the local cluster and make sure that nothing of it is left running")
    .option("--purge", "also remove all of its data")
    .option(...DATA_OPTION)
    .action(async (flags: DownFlags) => {
      await down(context, flags);
    });
}

async function down(context: CliContext, flags: DownFlags): Promise<void> {
  const dataDir = canonicalPath(dataDirOf(context, flags.data).dataDir);
  if (!existsSync(dataDir)) {
    context.print(`there is no cluster in ${dataDir}`);
    return;
  }
  if (flags.purge === true && isOwnerDamaged(dataDir)) {
    await purgeDamaged(dataDir);
    finishPurge(context, dataDir);
    return;
  }
  if (readOwner(dataDir) === undefined) {
    throw new CliError(
      `${dataDir} is not the directory of a cluster`,
      "Correct --data. Nothing was done.",
    );
  }
  const { wasRunning, leftoverCount } = await stopCluster(dataDir);
  if (leftoverCount > 0) context.note(`ended ${leftoverCount} processes that were left behind`);
  context.print(wasRunning || leftoverCount > 0 ? "stopped" : "it was not running");
  if (flags.purge === true) {
    purgeData(dataDir);
    finishPurge(context, dataDir);
  }
}

/** Also removes what the user's clusters shared. */
function finishPurge(context: CliContext, dataDir: string): void {
  purgeShared(context.env);
  context.print(`removed ${dataDir} and everything else the cluster had on disk`);
}
