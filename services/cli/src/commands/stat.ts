import type { TaskStat } from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import type { Command } from "commander";
import { CliError } from "../cli-error.ts";
import { type CliContext, JSON_OPTION } from "../context.ts";
import { PEER_OPTIONS, type PeerFlags, socketOf } from "../peer-choice.ts";
import { connectPeer, type PeerClient } from "../peer-client.ts";
import { matchDigits, statLines, taskJson } from "../task-lines.ts";

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
      const task = await find(client, text);
      context.print(
        flags.json === true ? JSON.stringify(taskJson(task)) : statLines(task, systemClock.now()),
      );
    } finally {
      client.close();
    }
  });
}

async function find(client: PeerClient, text: string): Promise<TaskStat> {
  if (text.includes("://")) return client.stat({ url: text });
  const hex = text.replace(/^sha256:/i, "").toLowerCase();
  if (!/^[0-9a-f]{4,64}$/.test(hex))
    throw new CliError(
      `"${text}" is no task`,
      "Give 4 to 64 hex digits of a task id (see `lacewing ls`) or of the content's digest, or a URL.",
    );
  return matchDigits((await client.list()).tasks, hex);
}
