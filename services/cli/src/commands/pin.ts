import { systemClock } from "@lacewing/runtime/clock.ts";
import type { Command } from "commander";
import { type CliContext, JSON_OPTION } from "../context.ts";
import { PEER_OPTIONS, type PeerFlags, socketOf } from "../peer-choice.ts";
import { connectPeer } from "../peer-client.ts";
import { findTask, TASK_ARGUMENT } from "../task-choice.ts";
import { statLines, taskJson } from "../task-lines.ts";

interface PinFlags extends PeerFlags {
  readonly json?: true;
}

export function registerPin(program: Command, context: CliContext): void {
  const description = "keep one task on a host's disk, whatever else needs room";
  register(program, context, { name: "pin", description, pinned: true });
}

export function registerUnpin(program: Command, context: CliContext): void {
  const description = "let a pinned task be evicted again when its room is needed";
  register(program, context, { name: "unpin", description, pinned: false });
}

function register(
  program: Command,
  context: CliContext,
  what: { readonly name: string; readonly description: string; readonly pinned: boolean },
): void {
  const command = program
    .command(what.name)
    .description(what.description)
    .argument("<task>", TASK_ARGUMENT);
  for (const option of PEER_OPTIONS) command.option(...option);
  command.option(...JSON_OPTION).action(async (text: string, flags: PinFlags) => {
    const client = await connectPeer(socketOf(context, flags));
    try {
      const { taskId } = await findTask(client, text);
      const task = await client.pin({ taskId, pinned: what.pinned });
      context.print(
        flags.json === true ? JSON.stringify(taskJson(task)) : statLines(task, systemClock.now()),
      );
    } finally {
      client.close();
    }
  });
}
