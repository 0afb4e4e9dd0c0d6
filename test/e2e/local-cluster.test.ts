import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, stat } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { type ClusterFile, pidsOf, readClusterFile } from "@lacewing/local/cluster-file.ts";
import { commandLineOf } from "@lacewing/local/process-table.ts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { runLacewing, startLacewing } from "../support/command-line.ts";
import { seededContent, sha256Of } from "../support/content.ts";
import { httpGet } from "../support/http.ts";
import { signedUrlOf } from "../support/lfs-batch-client.ts";
import { type LfsObject, type LfsOrigin, startLfsOrigin } from "../support/lfs-origin.ts";
import { failureOf, isProcessAlive, type RunningProcess } from "../support/processes.ts";
import { makeTempDir, type TempDir } from "../support/temp-dir.ts";
import { waitFor } from "../support/wait-for.ts";

/** Fetching servers on a machine that has none takes most of it. */
const READY_TIMEOUT_MS = 120_000;
const STOP_TIMEOUT_MS = 60_000;
const OBJECT_BYTES = 5 * 2 ** 20 + 3;

/**
 * Goal: a user's first minutes with `lacewing up`: everything works from a fresh home, beside whatever already runs on the
 * usual ports, and goes away completely.
 *
 * Method: the tests of this file are one story, told in order: start, use, stop, start again, purge.
 */
describe("lacewing up", () => {
  let dir: TempDir;
  let home: string;
  let dataDir: string;
  let origin: LfsOrigin;
  let object: LfsObject;
  let squatters: readonly Server[];
  let running: RunningProcess | undefined;
  const everSeenPids = new Set<number>();

  beforeAll(async () => {
    // A deep place: sockets must not follow it beyond the 107 bytes that the system allows.
    dir = await makeTempDir("local");
    home = dir.join("a user with a long name".repeat(3), "home");
    await mkdir(home, { recursive: true, mode: 0o700 });
    dataDir = join(home, "data", "lacewing", "local");
    origin = await startLfsOrigin();
    object = await origin.addObject(seededContent("local cluster", OBJECT_BYTES));
    squatters = await Promise.all([65_001, 4222, 5432, 16_686].map(squat));
  });
  afterAll(async () => {
    running?.kill("SIGKILL");
    await origin?.close();
    for (const squatter of squatters ?? []) squatter.close();
    await dir?.[Symbol.asyncDispose]();
  });

  async function up(): Promise<ClusterFile> {
    running = await startLacewing({ args: ["up"], home, timeoutMs: 10 * 60_000 });
    const started = running;
    let hasEnded = false;
    void started.result.then(() => {
      hasEnded = true;
    });
    const cluster = await waitFor(
      "cluster.json",
      () => {
        if (hasEnded) throw new Error(`it ended: ${started.output().stderr.slice(-2000)}`);
        return readClusterFile(dataDir);
      },
      { timeoutMs: READY_TIMEOUT_MS },
    );
    for (const pid of [started.pid, ...pidsOf(cluster)]) everSeenPids.add(pid);
    return cluster;
  }

  /** Ctrl-C. */
  async function interrupt(): Promise<void> {
    running?.kill("SIGINT");
    const result = await running?.result;
    running = undefined;
    expect(result).toMatchObject({ exitCode: 0 });
  }

  async function get(cluster: ClusterFile, index: number) {
    const url = await signedUrlOf(origin, object.oid);
    return httpGet(url, { proxyUrl: cluster.peers[index]?.proxyUrl });
  }

  async function expectNothingRuns(): Promise<void> {
    await waitFor(
      "every process to be gone",
      async () => {
        const left = await processesNaming(dir.path);
        const alive = [...everSeenPids].filter((pid) => isProcessAlive(pid));
        if (left.length + alive.length > 0) throw new Error(JSON.stringify({ left, alive }));
        return true;
      },
      { timeoutMs: STOP_TIMEOUT_MS },
    );
  }

  test("starts beside servers that hold the usual ports, and writes cluster.json exactly as promised", async () => {
    const cluster = await up();
    const written: unknown = JSON.parse(await readFile(join(dataDir, "cluster.json"), "utf8"));
    expect(exactCluster.parse(written)).toEqual(written);
    expect(cluster.peers.map(({ hostId, kind }) => [hostId, kind])).toEqual([
      ["peer-1", "normal"],
      ["peer-2", "normal"],
      ["seed-1", "seed"],
    ]);
    const { mode } = await stat(join(dataDir, "cluster.json"));
    expect(mode & 0o077).toBe(0);
    const output = running?.output();
    expect(output?.stderr).toMatch(/port 65001 is taken: peer-1 uses \d+/);
    for (const url of [cluster.peers[0]?.proxyUrl, cluster.tracesUrl]) {
      expect(output?.stdout).toContain(url);
    }
    expect(output?.stdout).toMatch(/insteadOf/);
    // Passwords are in the file, which only its owner reads, and not on the screen.
    expect(output?.stdout).not.toContain(new URL(cluster.natsUrl).password);
    for (const pid of pidsOf(cluster)) expect(isProcessAlive(pid)).toBe(true);
  });

  test("starting it twice starts nothing, and shows where everything is", async () => {
    const again = await runLacewing({ args: ["up"], home });
    expect(again.exitCode).toBe(0);
    expect(again.stderr).toContain("already running");
    expect(again.stdout).toContain(readClusterFile(dataDir)?.peers[0]?.proxyUrl);
  });

  test("starting it twice with other options says that they were not applied, and wrong ones are found", async () => {
    const other = await runLacewing({ args: ["up", "--peers", "3", "--seed-peers", "1"], home });
    expect(other.exitCode).toBe(1);
    expect(other.stderr).toMatch(/not applied.*--peers 3$/m);
    expect(other.stderr).not.toContain("--seed-peers");
    const missing = await runLacewing({ args: ["up", "--config", dir.join("no.yaml")], home });
    expect(missing.exitCode).toBe(1);
    expect(missing.stderr).toContain("there is no settings file");
  });

  test("lacewing get, ls and stat work over the peer's socket", async () => {
    const into = dir.join("got.bin");
    const url = await signedUrlOf(origin, object.oid);
    const got = await runLacewing({ args: ["get", url, "-o", into], home });
    expect(failureOf(got)).toBe("");
    expect(await sha256Of({ kind: "file", path: into, sizeBytes: OBJECT_BYTES })).toBe(object.oid);

    const listed = await runLacewing({ args: ["ls", "--json"], home });
    expect(failureOf(listed)).toBe("");
    expect(listed.stdout).toContain(object.oid);
    const taskId = /[0-9a-f]{64}/.exec(
      listed.stdout.replaceAll(`sha256:${object.oid}`, "").replaceAll(object.oid, ""),
    )?.[0];
    expect(taskId).toBeDefined();
    const shown = await runLacewing({ args: ["stat", taskId ?? "", "--json"], home });
    expect(failureOf(shown)).toBe("");
    expect(shown.stdout).toContain(object.oid);

    const refused = await runLacewing({
      args: ["get", `${origin.url}/files/none`, "-o", dir.join("none.bin")],
      home,
    });
    expect(refused.exitCode).not.toBe(0);
    expect(refused.stderr).toContain("404");
    expect(existsSync(dir.join("none.bin"))).toBe(false);
  });

  test("lacewing sql runs a query and prints a table, or JSON, or what is wrong with the query", async () => {
    const table = await runLacewing({
      args: ["sql", "select host_id, kind from hosts order by 1"],
      home,
    });
    expect(failureOf(table)).toBe("");
    expect(table.stdout).toMatch(/host_id.*kind/);
    expect(table.stdout).toContain("(3 rows)");
    const json = await runLacewing({ args: ["sql", "--json", "select 1 as one"], home });
    expect(JSON.parse(json.stdout)).toEqual([{ one: 1 }]);
    const wrong = await runLacewing({ args: ["sql", "select nothing from nowhere"], home });
    expect(wrong.exitCode).not.toBe(0);
    expect(wrong.stderr).toContain("nowhere");
    for (const nothing of ["", "/* a comment */"]) {
      const empty = await runLacewing({ args: ["sql", nothing], home });
      expect(empty.exitCode).not.toBe(0);
      expect(empty.stderr).toContain("there is no query");
    }
    const state = await runLacewing({ args: ["tasks", "--state", "foo"], home });
    expect(state.exitCode).not.toBe(0);
    expect(state.stderr).toContain("active, verified, retired");
  });

  test("a rebuild says at once that NATS is away, and a start that an address is wrong", async () => {
    const env = {
      LACEWING_NATS_URL: "nats://127.0.0.1:1",
      LACEWING_DATABASE_URL: "postgres://127.0.0.1:1/x",
    };
    const rebuild = await runLacewing({ args: ["scheduler", "rebuild"], home, env });
    expect(rebuild.exitCode).toBe(1);
    expect(rebuild.stderr).toContain("cannot connect to NATS at 127.0.0.1:1");
    const data = dir.join("never-made");
    const away = await runLacewing({ args: ["up", "--data", data], home, env });
    expect(away.exitCode).toBe(1);
    expect(away.stderr).toContain("cannot connect to NATS at 127.0.0.1:1");
    const wrong = { OTEL_EXPORTER_OTLP_ENDPOINT: "foo" };
    const up = await runLacewing({ args: ["up", "--data", data], home, env: wrong });
    expect(up.stderr).toContain("OTEL_EXPORTER_OTLP_ENDPOINT is not");
    expect(existsSync(data)).toBe(false);
  });

  test("Ctrl-C ends every process, and each service has finished its stop", async () => {
    await interrupt();
    expect(readClusterFile(dataDir)).toBeUndefined();
    await expectNothingRuns();
    const lastWords = { scheduler: "scheduler stopped", traces: "trace store stopped" };
    const peers = ["peer-1", "peer-2", "seed-1"].map((name) => [name, "peer stopped"] as const);
    for (const [name, words] of [...Object.entries(lastWords), ...peers]) {
      expect(await readFile(join(dataDir, "logs", `${name}.log`), "utf8")).toContain(words);
    }
  });

  test("the second start has the same ports and data, and serves what is held without the origin's content", async () => {
    await origin.resetStats();
    const cluster = await up();
    const answer = await get(cluster, 0);
    expect(answer).toMatchObject({ status: 200, isComplete: true, sha256: object.oid });
    expect((await origin.stats()).content.bytes).toBe(0);
    await waitFor("both downloads in SQL", async () => {
      const json = await runLacewing({
        args: [
          "sql",
          "--json",
          "select traffic from downloads where outcome = 'finished' order by started_at",
        ],
        home,
      });
      const rows = z.array(z.object({ traffic: z.string() })).parse(JSON.parse(json.stdout));
      return rows.map(({ traffic }) => traffic).join() === "back_to_source,local_peer";
    });
  });

  test("kill -9 of lacewing up itself leaves no orphan", async () => {
    process.kill(running?.pid ?? 0, "SIGKILL");
    expect(await running?.result).toMatchObject({ signal: "SIGKILL" });
    running = undefined;
    await expectNothingRuns();
  });

  test("lacewing down --purge ends a running cluster and leaves nothing behind", async () => {
    await up();
    const down = await runLacewing({ args: ["down", "--purge"], home });
    expect(failureOf(down)).toBe("");
    await running?.result;
    running = undefined;
    await expectNothingRuns();
    expect(existsSync(dataDir)).toBe(false);
    expect(await filesUnder(home)).toEqual([]);
  });
});

/** Somebody else's server. One that cannot have its port has a neighbour who does the same for us. */
async function squat(port: number): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve) => {
    server.once("error", () => resolve());
    server.listen(port, "127.0.0.1", resolve);
  });
  return server;
}

const pid = z.number().int().positive();
const url = (scheme: string) => z.string().startsWith(`${scheme}://`);
/** Design §9, to the letter: nothing more, nothing less. */
const exactCluster = z.strictObject({
  peers: z.array(
    z.strictObject({
      hostId: z.string(),
      kind: z.enum(["normal", "seed"]),
      proxyUrl: url("http"),
      apiSocket: z.string().max(107),
      dataDir: z.string(),
    }),
  ),
  natsUrl: url("nats"),
  databaseUrl: z.string().regex(/^postgres(ql)?:\/\//),
  tracesUrl: url("http"),
  schedulerAddress: z.string().regex(/^127\.0\.0\.1:\d+$/),
  pids: z.strictObject({
    nats: pid,
    postgres: pid,
    scheduler: pid,
    traces: pid,
    peers: z.record(z.string(), pid),
  }),
});

async function processesNaming(path: string): Promise<readonly string[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  return pids
    .filter((candidate) => candidate !== process.pid)
    .map((candidate) => commandLineOf(candidate))
    .filter((line) => line.includes(path));
}

async function filesUnder(path: string): Promise<readonly string[]> {
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => !entry.isDirectory())
    .map(({ parentPath, name }) => join(parentPath, name));
}
