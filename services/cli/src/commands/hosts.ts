import type { Host } from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import Table from "cli-table3";
import type { Command } from "commander";
import { type CliContext, JSON_OPTION } from "../context.ts";
import { pagesOf } from "../pages.ts";
import { SCHEDULER_OPTIONS, schedulerAddressOf, type SchedulerFlags } from "../scheduler-choice.ts";
import { connectScheduler } from "../scheduler-client.ts";
import { formatAge, formatBytes } from "@lacewing/runtime/figures.ts";

interface HostsFlags extends SchedulerFlags {
  readonly json?: true;
}

export function registerHosts(program: Command, context: CliContext): void {
  const command = program
    .command("hosts")
    .description("list the cluster's hosts as the scheduler knows them");
  for (const option of SCHEDULER_OPTIONS) command.option(...option);
  command.option(...JSON_OPTION).action(async (flags: HostsFlags) => {
    const client = await connectScheduler(schedulerAddressOf(context, flags));
    try {
      const { rows: hosts, isCut } = await pagesOf(async (page) => {
        const { hosts: rows, nextPageToken } = await client.listHosts(page);
        return { rows, nextPageToken };
      });
      context.print(flags.json === true ? JSON.stringify(hosts) : hostTable(hosts));
      if (isCut) context.note(`there are more than these ${hosts.length}`);
    } finally {
      client.close();
    }
  });
}

function hostTable(hosts: readonly Host[]): string {
  const table = new Table({
    head: ["host", "kind", "state", "address", "place", "slots", "serves", "takes", "free", "seen"],
    style: { head: [], border: [] },
  });
  for (const host of hosts) {
    table.push([
      host.hostId,
      host.kind,
      host.state,
      host.transferAddress,
      [host.idc, host.location].filter((part) => part !== "").join(" "),
      host.uploadSlots,
      host.servingLeaseCount,
      host.takingLeaseCount,
      formatBytes(host.freeBytes),
      formatAge(host.announcedAtMs, systemClock.now()),
    ]);
  }
  return table.toString();
}
