import { formatBytes } from "@lacewing/runtime/figures.ts";
import type { Command } from "commander";
import { type CliContext, JSON_OPTION } from "../context.ts";
import { PEER_OPTIONS, type PeerFlags, socketOf } from "../peer-choice.ts";
import { connectPeer } from "../peer-client.ts";
import { findTask, TASK_ARGUMENT } from "../task-choice.ts";
import { shortId } from "../task-lines.ts";

interface RmFlags extends PeerFlags {
  readonly force?: true;
  readonly json?: true;
}

export function registerRm(program: Command, context: CliContext): void {
  const command = program
    .command("rm")
    .description("remove one task from a host's disk; other hosts keep theirs")
    .argument("<task>", TASK_ARGUMENT);
  for (const option of PEER_OPTIONS) command.option(...option);
  command
    .option("--force", "also when it is in use, whose downloads then break off, or pinned")
    .option(...JSON_OPTION)
    .action(async (text: string, flags: RmFlags) => {
      const client = await connectPeer(socketOf(context, flags));
      try {
        const { taskId } = await findTask(client, text);
        const { freedBytes } = await client.remove({ taskId, force: flags.force === true });
        context.print(
          flags.json === true
            ? JSON.stringify({ taskId, freedBytes })
            : `removed ${shortId(taskId)}, ${formatBytes(freedBytes)}`,
        );
      } finally {
        client.close();
      }
    });
}
