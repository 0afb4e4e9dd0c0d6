import { systemClock } from "@lacewing/runtime/clock.ts";
import type { Command } from "commander";
import { type CliContext, JSON_OPTION } from "../context.ts";
import { PEER_OPTIONS, type PeerFlags, socketOf } from "../peer-choice.ts";
import { connectPeer } from "../peer-client.ts";
import { findTask } from "../task-choice.ts";
import { statLines, taskJson } from "../task-lines.ts";

interface StatFlags extends PeerFlags {
  readonly json?: true;
}

export function registerStat(program: Command, context: CliContext): void {
  const command = program
    .command("stat")
    .description("show one task that a host holds, with a map of its pieces")
    .argument("<task>", "first digits of the task id or of the content's digest, or the URL");
  for (const option of PEER_OPTIONS) command.option(...option);
  command.option(...JSON_OPTION).action(async (text: string, flags: StatFlags) => {
    const client = await connectPeer(socketOf(context, flags));
    try {
      const task = await findTask(client, text);
      context.print(
        flags.json === true ? JSON.stringify(taskJson(task)) : statLines(task, systemClock.now()),
      );
    } finally {
      client.close();
    }
  });
}
