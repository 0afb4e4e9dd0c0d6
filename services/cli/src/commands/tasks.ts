import type { Task } from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import Table from "cli-table3";
import { type Command, Option } from "commander";
import { type CliContext, JSON_OPTION } from "../context.ts";
import { pagesOf } from "../pages.ts";
import { SCHEDULER_OPTIONS, schedulerAddressOf, type SchedulerFlags } from "../scheduler-choice.ts";
import { connectScheduler } from "../scheduler-client.ts";
import { shortId, shortUrl } from "../task-lines.ts";
import { formatAge, formatBytes } from "@lacewing/runtime/figures.ts";

interface TasksFlags extends SchedulerFlags {
  readonly state?: string;
  readonly json?: true;
}

/** As the scheduler names them. */
const STATES = ["active", "verified", "retired"] as const;

export function registerTasks(program: Command, context: CliContext): void {
  const command = program
    .command("tasks")
    .description("list the cluster's tasks as the scheduler knows them, by id");
  for (const option of SCHEDULER_OPTIONS) command.option(...option);
  command
    .addOption(new Option("--state <state>", "only those in this state").choices(STATES))
    .option(...JSON_OPTION)
    .action(async (flags: TasksFlags) => {
      const client = await connectScheduler(schedulerAddressOf(context, flags));
      try {
        const { rows, isCut } = await pagesOf(async (page) => {
          const answer = await client.listTasks({ ...page, state: flags.state ?? "" });
          return { rows: answer.tasks, nextPageToken: answer.nextPageToken };
        });
        context.print(flags.json === true ? JSON.stringify(rows) : taskTable(rows));
        if (isCut) context.note(`there are more than these ${rows.length}`);
      } finally {
        client.close();
      }
    });
}

function taskTable(tasks: readonly Task[]): string {
  const table = new Table({
    head: ["task", "size", "pieces", "state", "url", "created"],
    style: { head: [], border: [] },
  });
  for (const task of tasks) {
    table.push([
      shortId(task.taskId),
      task.lengthBytes === undefined ? "?" : formatBytes(task.lengthBytes),
      task.pieceCount,
      task.retiredReason === "" ? task.state : `${task.state}: ${task.retiredReason}`,
      shortUrl(task.url),
      formatAge(task.createdAtMs, systemClock.now()),
    ]);
  }
  return table.toString();
}
