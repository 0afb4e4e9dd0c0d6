import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { promisify } from "node:util";
import { connectNats } from "@lacewing/runtime/nats.ts";
import { jetstreamManager } from "@nats-io/jetstream";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { startWorld, type World } from "../support/e2e-world.ts";
import { httpGet } from "../support/http.ts";
import { listTasks } from "../support/peer-api.ts";
import { waitFor } from "../support/wait-for.ts";

const MIB = 2 ** 20;
const run = promisify(execFile);
const CONTENT = randomBytes(32 * MIB);
const SHA256 = createHash("sha256").update(CONTENT).digest("hex");
/** Each occurs nowhere by accident. */
const SECRETS = {
  signature: randomBytes(16).toString("hex"),
  authorization: randomBytes(16).toString("hex"),
  cookie: randomBytes(16).toString("hex"),
  field: randomBytes(16).toString("hex"),
};
const HEADERS = {
  authorization: `Bearer ${SECRETS.authorization}`,
  cookie: `session=${SECRETS.cookie}`,
  "x-api-key": SECRETS.field,
};

/**
 * Content for whoever has all credentials. The whole stops half-way, and ranges wait until they are let go: nobody can have read
 * everything before.
 */
class Origin {
  readonly #ranges = Promise.withResolvers<undefined>();
  readonly asked: { readonly range: string | undefined; readonly isKnown: boolean }[] = [];
  readonly server: Server = createServer((request, response) => this.#answer(request, response));

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { authorization, cookie, range } = request.headers;
    const isKnown =
      authorization === HEADERS.authorization &&
      cookie === HEADERS.cookie &&
      request.headers["x-api-key"] === SECRETS.field &&
      (request.url ?? "").includes(SECRETS.signature);
    this.asked.push({ range, isKnown });
    if (!isKnown) {
      response.writeHead(403).end();
      return;
    }
    const match = /^bytes=(\d+)-(\d*)$/.exec(range ?? "");
    const start = Number(match?.[1] ?? 0);
    const end = match?.[2] === undefined || match[2] === "" ? CONTENT.length : Number(match[2]) + 1;
    response.writeHead(match === null ? 200 : 206, {
      etag: '"v1"',
      "content-length": end - start,
      ...(match === null ? {} : { "content-range": `bytes ${start}-${end - 1}/${CONTENT.length}` }),
    });
    if (match === null) response.write(CONTENT.subarray(0, CONTENT.length / 2));
    else void this.#ranges.promise.then(() => response.end(CONTENT.subarray(start, end)));
  }

  letRangesGo(): void {
    this.#ranges.resolve(undefined);
  }
}

const origin = new Origin();
let world: World;
let url: string;
beforeAll(async () => {
  origin.server.listen(0, "127.0.0.1");
  await once(origin.server, "listening");
  const address = origin.server.address();
  if (address === null || typeof address === "string") throw new TypeError("no TCP address");
  url = `http://origin.localhost:${address.port}/file?X-Amz-Signature=${SECRETS.signature}`;
  world = await startWorld({
    peers: 2,
    seedPeers: 1,
    config: `
proxy: { rules: [{ regex: ^http://origin\\.localhost, useTls: false }] }
delegation: { enabled: true, allowedNetworks: [127.0.0.0/8, "::1"], ports: [${address.port}] }
`,
  });
});
afterAll(async () => {
  origin.server.close();
  origin.server.closeAllConnections();
  await world?.[Symbol.asyncDispose]();
});

test("a seed host reads on in the name of a client that is gone, and the secrets are nowhere but at the origin", async () => {
  const leave = new AbortController();
  const first = httpGet(url, {
    proxyUrl: world.peer("peer-1").proxyUrl,
    headers: HEADERS,
    signal: leave.signal,
    onChunk: (_chunk, bytesSoFar) => {
      if (bytesSoFar > 4 * MIB) leave.abort();
    },
  });
  await first.catch(() => undefined);
  origin.letRangesGo();
  const seed = world.peer("seed-1");
  await waitFor("the seed host to hold everything", async () => {
    const tasks = await listTasks(seed);
    return tasks.some(({ heldPieceCount, pieceCount }) => heldPieceCount === pieceCount);
  });
  const bytesOfSeed = async () =>
    world.rows(
      z.object({ bytes: z.coerce.number() }),
      `select coalesce(sum(bytes), 0) as bytes from leases
         where child_host_id = 'seed-1' and parent_host_id is null and outcome = 'finished'`,
    );
  await waitFor("its leases of the origin in SQL", async () => {
    const [read] = await bytesOfSeed();
    return (read?.bytes ?? 0) >= CONTENT.length / 2;
  });
  // Whoever is allowed to read it gets it from there; whoever is not, gets the origin's refusal.
  const proxyUrl = world.peer("peer-2").proxyUrl;
  const second = await httpGet(url, { proxyUrl, headers: HEADERS });
  expect(second).toMatchObject({ status: 200, isComplete: true, sha256: SHA256 });
  const stranger = await httpGet(url, { proxyUrl });
  expect(stranger.status).toBe(403);
  expect(origin.asked.filter(({ isKnown }) => !isKnown)).toHaveLength(1);
  // The search finds what is no secret where it may be: in a file, a message and a row.
  const shown = new URL(url);
  const places = await whereIn(world, `${shown.host}${shown.pathname}`);
  expect(places.some((place) => place.startsWith("/"))).toBe(true);
  expect(places.some((place) => place.includes("tasks"))).toBe(true);
  for (const secret of Object.values(SECRETS)) {
    expect(await whereIn(world, secret)).toEqual([]);
  }
});

/** What grep found, though it ended with 1: nothing, or 2: a file vanished before it was read, beside matches or not. */
function foundAllTheSame(error: unknown): { readonly stdout: string } {
  const { code, stdout, stderr } = z
    .object({ code: z.number(), stdout: z.string(), stderr: z.string() })
    .parse(error);
  const problems = stderr.split("\n").filter((line) => line !== "");
  const areVanished = problems.every((line) => line.endsWith("No such file or directory"));
  if (code === 1 || (code === 2 && areVanished)) return { stdout };
  throw error;
}

/** Files of the cluster, messages and rows that hold a text. */
async function whereIn(world: World, text: string): Promise<readonly string[]> {
  const { cluster, dir } = world;
  const found: string[] = [];
  const { stdout } = await run("grep", ["-rlaF", text, dir.path]).catch(foundAllTheSame);
  found.push(...stdout.split("\n").filter((line) => line !== ""));
  const tables = await world.rows(
    z.object({ name: z.string() }),
    `select format('%I.%I', table_schema, table_name) as name from information_schema.tables
       where table_schema not in ('pg_catalog', 'information_schema') and table_type = 'BASE TABLE'`,
  );
  expect(tables.length).toBeGreaterThan(5);
  for (const { name } of tables) {
    const matches = await world.rows(
      z.object({ count: z.coerce.number() }),
      `select count(*) as count from ${name} t where to_jsonb(t)::text like '%' || $1 || '%'`,
      [text],
    );
    if (matches[0]?.count !== 0) found.push(name);
  }
  return [...found, ...(await messagesWith(cluster.file.natsUrl, text))];
}

async function messagesWith(natsUrl: string, text: string): Promise<readonly string[]> {
  const nats = await connectNats({ url: natsUrl, name: "test", inboxPrefix: "_INBOX_test" });
  try {
    const manager = await jetstreamManager(nats);
    const found: string[] = [];
    let messageCount = 0;
    for await (const { config, state } of manager.streams.list()) {
      for (let sequence = state.first_seq; sequence <= state.last_seq; sequence++) {
        const message = await manager.streams.getMessage(config.name, { seq: sequence });
        if (message === null) continue;
        messageCount++;
        const all = Buffer.from(message.data).toString("latin1");
        if (all.includes(text)) found.push(`${config.name} ${sequence}`);
      }
    }
    expect(messageCount).toBeGreaterThan(0);
    return found;
  } finally {
    await nats.close();
  }
}
