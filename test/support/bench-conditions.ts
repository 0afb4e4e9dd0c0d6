import { availableParallelism, cpus, loadavg } from "node:os";
import { z } from "zod";
import { connectSql } from "./sql.ts";
import type { TestNats } from "./nats.ts";

/** Others at work on the machine spoil figures in real time: so busy it was before ours began. */
const LOAD_BEFORE = loadavg()[0] ?? Number.NaN;

/** Where the figures of a benchmark come from, in one line: without it they mean nothing. */
export function machineConditions(): string {
  const cpu = cpus()[0]?.model.trim() ?? "unknown";
  const cores = `${availableParallelism()} cores shared by everything (${cpu}), load ${LOAD_BEFORE.toFixed(1)} before`;
  return `${cores} · Node ${process.versions.node}`;
}

/** The same with the versions of the servers. */
export async function serverConditions(servers: {
  readonly nats: TestNats;
  readonly databaseUrl: string;
}): Promise<string> {
  await using sql = await connectSql(servers.databaseUrl);
  const version = z.object({ version: z.string() });
  const [row] = await sql.rows(version, "select current_setting('server_version') as version");
  const connection = await servers.nats.connect();
  const nats = connection.info?.version ?? "unknown";
  return `${machineConditions()} · nats-server ${nats} · PostgreSQL ${row?.version.split(" ")[0] ?? "unknown"}`;
}

/** The figure beside its target: `1.8 ms (target ≤ 3 ms: met)`. */
export function besideTarget(figure: string, target: string, isMet: boolean): string {
  return `${figure} (target ${target}: ${isMet ? "met" : "NOT met"})`;
}
