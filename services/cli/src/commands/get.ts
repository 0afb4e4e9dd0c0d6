import type { Header } from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { type Command, InvalidArgumentError } from "commander";
import { CliError, Interrupted } from "../cli-error.ts";
import { type CliContext, JSON_OPTION } from "../context.ts";
import { createDownloadBar, silentBar } from "../download-bar.ts";
import { type Fetched, fetchContent } from "../fetch-content.ts";
import { fileNameOf, parseHeader } from "../http-answer.ts";
import { createPartFile, createStreamSink, refuseExisting } from "../part-file.ts";
import { PEER_OPTIONS, type PeerFlags, socketOf } from "../peer-choice.ts";
import { connectPeer } from "../peer-client.ts";
import { trafficText } from "../traffic-text.ts";
import { formatBytes, formatDuration } from "@lacewing/runtime/figures.ts";

interface GetFlags extends PeerFlags {
  readonly output?: string;
  readonly header?: readonly Header[];
  readonly force?: true;
  readonly quiet?: true;
  readonly json?: true;
}

/** As `-o`: standard output. */
const STANDARD_OUTPUT = "-";

export function registerGet(program: Command, context: CliContext): void {
  const command = program
    .command("get")
    .description("download a URL through a host, verified, with progress")
    .argument("<url>", "http: or https: URL", asUrl)
    .option(
      "-o, --output <file>",
      "file to write; - is standard output (default: the URL's last part)",
    )
    .option("-H, --header <line>", "request header `Name: value`; may be repeated", addHeader)
    .option("--force", "replace the file if it exists")
    .option("--quiet", "print nothing but errors");
  for (const option of PEER_OPTIONS) command.option(...option);
  command.option(...JSON_OPTION).action(async (url: URL, flags: GetFlags) => {
    await get(context, url, flags);
  });
}

async function get(context: CliContext, url: URL, flags: GetFlags): Promise<void> {
  const file = flags.output ?? fileNameOf(url);
  if (file === undefined)
    throw new CliError(`${url.host}${url.pathname} names no file`, "Name one with -o FILE.");
  const toStream = file === STANDARD_OUTPUT;
  if (toStream && flags.json === true)
    throw new CliError("content and JSON cannot both go to standard output", "Use -o FILE.");
  const force = flags.force === true;
  // Before anything is asked of anybody.
  if (!toStream) refuseExisting(file, force);
  const openSink = async () =>
    toStream ? createStreamSink(context.output) : createPartFile(file, { force });
  const isSilent = flags.quiet === true || flags.json === true || !context.isTerminal || toStream;
  const bar = isSilent ? silentBar : createDownloadBar(() => systemClock.monotonic());

  const client = await connectPeer(socketOf(context, flags));
  const interrupt = interruptSignal();
  try {
    const request = { url, headers: flags.header ?? [] };
    const fetched = await fetchContent(client, request, {
      openSink,
      bar,
      signal: interrupt.signal,
    });
    if (flags.json === true) context.print(JSON.stringify({ file, ...fetched }));
    else if (flags.quiet !== true)
      (toStream ? context.note : context.print)(summaryOf(file, fetched));
  } finally {
    interrupt.forget();
    client.close();
  }
}

/** Ctrl-C and termination end the download first and the process after it, so that no part of a file is left. */
function interruptSignal(): { readonly signal: AbortSignal; forget(): void } {
  const controller = new AbortController();
  const stop = (signal: NodeJS.Signals): void => controller.abort(new Interrupted(signal));
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const signal of signals) process.once(signal, stop);
  return {
    signal: controller.signal,
    forget: () => {
      for (const signal of signals) process.off(signal, stop);
    },
  };
}

/** `model.bin: 1.2 GiB in 8.1 s (152 MiB/s); peers 100 %; trace 0af7…`. */
function summaryOf(file: string, fetched: Fetched): string {
  const rate = formatBytes((fetched.bytes / Math.max(1, fetched.costMs)) * 1000);
  const name = file === STANDARD_OUTPUT ? "" : `${file}: `;
  return [
    `${name}${formatBytes(fetched.bytes)} in ${formatDuration(fetched.costMs)} (${rate}/s)`,
    trafficText(fetched.traffic),
    fetched.traceId === "" ? "" : `trace ${fetched.traceId}`,
  ]
    .filter((part) => part !== "")
    .join("; ");
}

function asUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "http:" && url?.protocol !== "https:")
    throw new InvalidArgumentError("It must be an http: or https: URL.");
  return url;
}

function addHeader(text: string, before: readonly Header[] = []): readonly Header[] {
  const header = parseHeader(text);
  if (header === undefined) throw new InvalidArgumentError("It must look like `Name: value`.");
  return [...before, header];
}
