import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { ChildSpec } from "./children.ts";
import { withDeathSignal } from "./death-signal.ts";
import { writePrivateFile } from "./files.ts";
import { pollUntil } from "./poll.ts";

/** Who may log in to the embedded NATS server, and where it listens. */
export interface NatsPlan {
  readonly binary: string;
  readonly dataDir: string;
  readonly port: number;
  readonly monitorPort: number;
  readonly user: string;
  readonly password: string;
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly setpriv: string | undefined;
}

/** It has files to sync and clients to tell. */
const STOP_TIMEOUT_MS = 10_000;

export function natsUrl(plan: Pick<NatsPlan, "port" | "user" | "password">): string {
  return `nats://${plan.user}:${plan.password}@127.0.0.1:${plan.port}`;
}

/**
 * The server's configuration file: loopback only, one user, JetStream in the data dir. Names no option that
 * nats-server 2.9.10 refuses (`sync_interval` came with 2.10).
 */
export function natsConfig(
  plan: Pick<NatsPlan, "dataDir" | "port" | "monitorPort" | "user" | "password">,
): string {
  const directory = join(plan.dataDir, "nats");
  return [
    `server_name: "lacewing-local"`,
    `listen: "127.0.0.1:${plan.port}"`,
    `http: "127.0.0.1:${plan.monitorPort}"`,
    `pid_file: ${quoted(join(directory, "nats-server.pid"))}`,
    `authorization {`,
    `  user: ${quoted(plan.user)}`,
    `  password: ${quoted(plan.password)}`,
    `}`,
    `jetstream {`,
    `  store_dir: ${quoted(join(directory, "jetstream"))}`,
    `}`,
    "",
  ].join("\n");
}

/** The process of the embedded server. Writes its configuration. */
export function natsChild(plan: NatsPlan): ChildSpec {
  const directory = join(plan.dataDir, "nats");
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const configFile = join(directory, "nats-server.conf");
  writePrivateFile(configFile, natsConfig(plan));
  return {
    name: "nats",
    ...withDeathSignal(plan.setpriv, "SIGTERM", plan.binary, ["-c", configFile]),
    env: plan.env,
    cwd: directory,
    logFile: plan.logFile,
    readiness: async (signal) => {
      await pollUntil(async () => {
        const response = await fetch(`http://127.0.0.1:${plan.monitorPort}/healthz`, { signal });
        await response.arrayBuffer();
        return response.ok;
      }, signal);
    },
    stopSignal: "SIGTERM",
    stopTimeoutMs: STOP_TIMEOUT_MS,
  };
}

/** A string of the configuration language: quotes and backslashes escaped, nothing inside is expanded. */
function quoted(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}
