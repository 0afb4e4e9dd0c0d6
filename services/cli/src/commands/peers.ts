import type { Peer } from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import type { Command } from "commander";
import { CliError } from "../cli-error.ts";
import { type CliContext, JSON_OPTION } from "../context.ts";
import { pagesOf } from "../pages.ts";
import { SCHEDULER_OPTIONS, schedulerAddressOf, type SchedulerFlags } from "../scheduler-choice.ts";
import { connectScheduler, type SchedulerClient } from "../scheduler-client.ts";
import { pieceMap } from "../task-lines.ts";
import { percentOf } from "@lacewing/runtime/figures.ts";

interface PeersFlags extends SchedulerFlags {
  readonly json?: true;
}

export function registerPeers(program: Command, context: CliContext): void {
  const command = program
    .command("peers")
    .description("show which hosts take part in a task, with a map of the pieces that each holds")
    .argument("<task>", "first digits of the task id, or sha256:<digest>");
  for (const option of SCHEDULER_OPTIONS) command.option(...option);
  command.option(...JSON_OPTION).action(async (text: string, flags: PeersFlags) => {
    const client = await connectScheduler(schedulerAddressOf(context, flags));
    try {
      const { taskId, pieceCount } = await find(client, text);
      const { rows, isCut } = await pagesOf(async (page) => {
        const answer = await client.listPeers({ ...page, taskId });
        return { rows: answer.peers, nextPageToken: answer.nextPageToken };
      });
      context.print(
        flags.json === true
          ? JSON.stringify(rows.map(peerJson))
          : rows.map((peer) => peerLine(peer, pieceCount)).join("\n"),
      );
      if (isCut) context.note(`there are more than these ${rows.length}`);
    } finally {
      client.close();
    }
  });
}

/** The scheduler knows what ids stand for; only a task has peers. */
async function find(
  client: SchedulerClient,
  text: string,
): Promise<{ readonly taskId: string; readonly pieceCount: number }> {
  const { subject } = await client.explain(text);
  const task = subject?.$case === "task" ? subject.value.task : undefined;
  if (task !== undefined) return task;
  throw new CliError(`${text} is no task`, "`lacewing tasks` lists them.");
}

function peerLine(peer: Peer, pieceCount: number): string {
  const map = pieceCount === 0 ? "" : pieceMap({ pieceCount, bitmap: Buffer.from(peer.bitmap) });
  const share = pieceCount === 0 ? 0 : percentOf(peer.heldPieceCount, pieceCount);
  const marks = [
    ...(peer.isGone ? ["gone"] : []),
    ...(peer.isApart ? ["apart"] : []),
    ...(peer.isVerified ? ["verified"] : []),
    ...(peer.isSeeding ? ["seeding"] : []),
    ...(peer.requestCount > 0 ? [`${peer.requestCount} waiting`] : []),
  ].join(", ");
  return `${peer.hostId.padEnd(20)} ${`${share} %`.padStart(5)}  ${map}  ${marks}`.trimEnd();
}

function peerJson(peer: Peer): object {
  return { ...peer, bitmap: Buffer.from(peer.bitmap).toString("base64") };
}
