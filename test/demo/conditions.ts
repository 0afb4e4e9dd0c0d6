import { connect } from "node:net";
import { availableParallelism, cpus, totalmem } from "node:os";
import { z } from "zod";
import { runProcess } from "../support/processes.ts";
import type { Sql } from "../support/sql.ts";
import { formatRate, formatSize } from "../support/units.ts";

/** Under which conditions the figures came about: without them they mean nothing. */
export interface Conditions {
  readonly cores: number;
  readonly cpu: string;
  readonly memoryBytes: number;
  readonly originRateBytesPerSecond: number | null;
  readonly via: string;
  readonly node: string;
  readonly gitLfs: string;
  readonly natsServer: string;
  readonly postgres: string;
}

const NATS_GREETING_TIMEOUT_MS = 5_000;
const UNKNOWN = "unknown";

export async function readConditions(known: {
  readonly originRate: number | undefined;
  readonly via: string;
  readonly natsUrl: string;
  readonly sql: Sql;
}): Promise<Conditions> {
  const version = z.object({ version: z.string() });
  const [postgres] = await known.sql.rows(
    version,
    "select current_setting('server_version') as version",
  );
  return {
    cores: availableParallelism(),
    cpu: cpus()[0]?.model.trim() ?? UNKNOWN,
    memoryBytes: totalmem(),
    originRateBytesPerSecond: known.originRate ?? null,
    via: known.via,
    node: process.versions.node,
    gitLfs: await gitLfsVersion(),
    natsServer: await natsVersion(known.natsUrl),
    postgres: postgres?.version.split(" ")[0] ?? UNKNOWN,
  };
}

/** One line for below a table or a figure. */
export function describeConditions(conditions: Conditions): string {
  return [
    `${conditions.cores} cores shared by everything (${conditions.cpu})`,
    `${formatSize(conditions.memoryBytes)} memory`,
    `origin ${formatRate(conditions.originRateBytesPerSecond ?? undefined)}`,
    `route ${conditions.via}`,
    `git-lfs ${conditions.gitLfs}`,
    `nats-server ${conditions.natsServer}`,
    `PostgreSQL ${conditions.postgres}`,
    `Node ${conditions.node}`,
  ].join(" · ");
}

async function gitLfsVersion(): Promise<string> {
  const { stdout } = await runProcess({ command: "git", args: ["lfs", "version"] });
  return /git-lfs\/(\S+)/.exec(stdout)?.[1] ?? UNKNOWN;
}

/** The server introduces itself before anybody logs in: `INFO {"version":"2.11.4",…}`. */
async function natsVersion(natsUrl: string): Promise<string> {
  const url = new URL(natsUrl.split(",")[0] ?? natsUrl);
  const greeting = await new Promise<string>((resolve) => {
    const socket = connect({ host: url.hostname, port: Number(url.port === "" ? 4222 : url.port) });
    let text = "";
    const done = () => {
      socket.destroy();
      resolve(text);
    };
    socket.setTimeout(NATS_GREETING_TIMEOUT_MS, done);
    socket.on("error", done).on("close", done);
    socket.setEncoding("utf8").on("data", (part: string) => {
      text += part;
      if (text.includes("\n")) done();
    });
  });
  return /"version":"([^"]+)"/.exec(greeting)?.[1] ?? UNKNOWN;
}
