import { systemClock } from "@lacewing/runtime/clock.ts";
import Table from "cli-table3";
import type { Command } from "commander";
import { type CliContext, JSON_OPTION } from "../context.ts";
import { PEER_OPTIONS, type PeerFlags, socketOf } from "../peer-choice.ts";
import { connectPeer } from "../peer-client.ts";
import { LIST_HEAD, listRow, taskJson } from "../task-lines.ts";
import { formatBytes, percentOf } from "@lacewing/runtime/figures.ts";

interface LsFlags extends PeerFlags {
  readonly json?: true;
}

export function registerLs(program: Command, context: CliContext): void {
  const command = program.command("ls").description("list what a host holds, newest first");
  for (const option of PEER_OPTIONS) command.option(...option);
  command.option(...JSON_OPTION).action(async (flags: LsFlags) => {
    await list(context, flags);
  });
}

async function list(context: CliContext, flags: LsFlags): Promise<void> {
  const client = await connectPeer(socketOf(context, flags));
  try {
    const { tasks, usedBytes, quotaBytes } = await client.list();
    if (flags.json === true) {
      context.print(JSON.stringify({ tasks: tasks.map(taskJson), usedBytes, quotaBytes }));
      return;
    }
    if (tasks.length > 0) {
      const table = new Table({ head: [...LIST_HEAD], style: { head: [], border: [] } });
      for (const task of tasks) table.push(listRow(task, systemClock.now()));
      context.print(table.toString());
    }
    const count = `${tasks.length} task${tasks.length === 1 ? "" : "s"}`;
    const share = quotaBytes === 0 ? "" : ` (${percentOf(usedBytes, quotaBytes)} %)`;
    context.print(`${count}; ${formatBytes(usedBytes)} of ${formatBytes(quotaBytes)} used${share}`);
  } finally {
    client.close();
  }
}
