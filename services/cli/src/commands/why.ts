import type { Command } from "commander";
import { type CliContext, JSON_OPTION, requireCluster } from "../context.ts";
import { SCHEDULER_OPTIONS, schedulerAddressOf, type SchedulerFlags } from "../scheduler-choice.ts";
import { connectScheduler, SchedulerAway } from "../scheduler-client.ts";
import { storedAnswer } from "../stored-answer.ts";
import { whyJson, whyLines } from "../why-lines.ts";

interface WhyFlags extends SchedulerFlags {
  readonly database?: string;
  readonly json?: true;
}

export function registerWhy(program: Command, context: CliContext): void {
  const command = program
    .command("why")
    .description(
      "explain a lease, a task or a download: who gave what to whom, when, and for what reason",
    )
    .argument(
      "<id>",
      "lease id, first digits of a task id, sha256:<digest>, URL, download id, or trace id",
    );
  for (const option of SCHEDULER_OPTIONS) command.option(...option);
  command
    .option(
      "--database <url>",
      "database to ask when the named scheduler does not answer, or alone when none is named",
    )
    .option(...JSON_OPTION)
    .addHelpText(
      "after",
      '\nExamples: lacewing why 4bf92f35…     the trace in a log line "peer task done"\n          lacewing why 15abab      a task of `lacewing ls`',
    )
    .action(async (id: string, flags: WhyFlags) => {
      await explain(context, id, flags);
    });
}

async function explain(context: CliContext, id: string, flags: WhyFlags): Promise<void> {
  if (flags.database !== undefined && flags.scheduler === undefined) {
    context.note("without a scheduler: rows of the database, no live state, no logs");
    return printStored(context, flags.database, id, flags);
  }
  const { databaseUrl, tracesUrl } = placesOf(context, flags);
  try {
    const client = await connectScheduler(schedulerAddressOf(context, flags));
    try {
      const told = await client.explain(id);
      const traceUrlOf = (traceId: string) =>
        tracesUrl === undefined ? undefined : `${tracesUrl}/trace/${traceId}`;
      context.print(flags.json === true ? whyJson(told) : whyLines(told, traceUrlOf));
    } finally {
      client.close();
    }
  } catch (error) {
    if (!(error instanceof SchedulerAway) || databaseUrl === undefined) throw error;
    context.note(`${error.message}: rows of the database follow, no live state, no logs`);
    await printStored(context, databaseUrl, id, flags);
  }
}

async function printStored(
  context: CliContext,
  databaseUrl: string,
  id: string,
  flags: WhyFlags,
): Promise<void> {
  const answer = await storedAnswer(databaseUrl, id);
  context.print(flags.json === true ? JSON.stringify(answer.rows) : answer.text);
}

/** What the flags or the local cluster say about where else to look. */
function placesOf(
  context: CliContext,
  flags: WhyFlags,
): { readonly databaseUrl: string | undefined; readonly tracesUrl: string | undefined } {
  // A scheduler that is named belongs to another cluster than the local one.
  if (flags.scheduler !== undefined) return { databaseUrl: flags.database, tracesUrl: undefined };
  const { cluster } = requireCluster(context, flags.data);
  return { databaseUrl: cluster.databaseUrl, tracesUrl: cluster.tracesUrl ?? undefined };
}
