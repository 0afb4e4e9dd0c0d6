import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { join } from "node:path";
import { anyFreePort } from "@lacewing/local/ports.ts";
import { runProcess } from "./processes.ts";
import { findTool } from "./required-tool.ts";
import { waitFor } from "./wait-for.ts";

/** An nginx of our own on loopback; ends with its scope. */
export interface Nginx {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  readonly port: number;
  /** Of the workers: these do the work. */
  pids(): readonly number[];
  /** Body bytes sent so far, by path. */
  sentBytes(): Promise<ReadonlyMap<string, number>>;
  [Symbol.asyncDispose](): Promise<void>;
}

export interface NginxOptions {
  /** A folder of its own, made if missing: settings, logs, cache. */
  readonly folder: string;
  /** The address it listens on. Default: a free port of loopback. */
  readonly listen?: { readonly host: string; readonly port: number };
  /** Put before the command, to start it in a network namespace. */
  readonly prefix?: readonly string[];
  readonly serves:
    | { readonly kind: "files"; readonly root: string }
    /** `proxy_cache` in front of another server, on the same terms as a peer: no question to the origin for 10 minutes. */
    | { readonly kind: "cache"; readonly upstreamPort: number };
}

/** Debian keeps it out of the PATH of ordinary users. */
const SBIN = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"];

export function findNginx(): string | undefined {
  return findTool("nginx") ?? SBIN.find((path) => existsSync(path));
}

/** `1.22.1` */
export async function nginxVersion(): Promise<string> {
  const { stderr } = await runProcess({ command: findNginx() ?? "nginx", args: ["-v"] });
  return /nginx\/([\d.]+)/.exec(stderr)?.[1] ?? "unknown";
}

/** @throws when there is no nginx here, or it does not listen within some seconds. */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  const program = findNginx();
  if (program === undefined) throw new Error("nginx is not installed");
  const { folder, prefix = [] } = options;
  const { host, port } = options.listen ?? { host: "127.0.0.1", port: await anyFreePort() };
  await mkdir(join(folder, "temp"), { recursive: true });
  const settings = join(folder, "nginx.conf");
  await writeFile(settings, settingsOf(options, `${host}:${port}`));
  const [command, ...args] = [...prefix, program, "-c", settings];
  const child = spawn(command, args, { stdio: ["ignore", "ignore", "inherit"] });
  const exited = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const pidFile = join(folder, "nginx.pid");
  await waitFor("nginx listens", async () => {
    if (child.exitCode !== null) throw new Error(`nginx ended with ${child.exitCode}`);
    return prefix.length > 0 ? workersOf(pidFile).length > 0 : isListening(host, port);
  });
  return {
    url: `http://${host}:${port}`,
    port,
    pids: () => workersOf(pidFile),
    sentBytes: async () => sentBytesIn(join(folder, "access.log")),
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGTERM");
      await exited;
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** As somebody who knows nginx would set it for large files: sendfile, large buffers, kept connections, one worker per core. */
function settingsOf({ folder, serves }: NginxOptions, listen: string): string {
  const isCache = serves.kind === "cache";
  return `
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes auto; daemon off; pid ${folder}/nginx.pid; error_log ${folder}/error.log;
events { worker_connections 4096; }
http {
  log_format bytes '$uri $body_bytes_sent';
  access_log ${isCache ? "off" : `${folder}/access.log bytes`};
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 65; keepalive_requests 1000000;
  default_type application/octet-stream;
  ${["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/temp/${name};`).join(" ")}
  ${
    isCache
      ? `proxy_cache_path ${folder}/cache levels=1:2 keys_zone=bench:16m max_size=40g inactive=60m use_temp_path=off;
  upstream origin { server 127.0.0.1:${serves.upstreamPort}; keepalive 16; }
  server {
    listen ${listen} backlog=1024;
    location / {
      proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_cache bench; proxy_cache_valid 200 10m; proxy_cache_lock on; proxy_max_temp_file_size 0;
      proxy_buffer_size 64k; proxy_buffers 16 256k; proxy_busy_buffers_size 512k;
    }
  }`
      : `open_file_cache max=10000 inactive=60s;
  server { listen ${listen} backlog=1024; root ${serves.root}; }`
  }
}
`;
}

function workersOf(pidFile: string): number[] {
  try {
    const master = readFileSync(pidFile, "utf8").trim();
    const children = readFileSync(`/proc/${master}/task/${master}/children`, "utf8");
    return children.trim().split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

async function sentBytesIn(path: string): Promise<ReadonlyMap<string, number>> {
  const sent = new Map<string, number>();
  for (const line of readFileSync(path, "utf8").split("\n")) {
    const [uri = "", bytes] = line.split(" ");
    if (bytes !== undefined) sent.set(uri, (sent.get(uri) ?? 0) + Number(bytes));
  }
  return sent;
}

async function isListening(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
