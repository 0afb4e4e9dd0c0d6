import { afterEach, beforeEach, expect, test } from "vitest";
import { SLOT_LIMITS } from "@lacewing/peer/adapters/origin/connection-slots.ts";
import { createOriginClient } from "@lacewing/peer/adapters/origin/origin-client.ts";
import {
  OriginConnections,
  SYSTEM_TRUST,
} from "@lacewing/peer/adapters/origin/origin-connections.ts";
import type { OriginClient, OriginResponse } from "@lacewing/peer/app/ports.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import {
  type ConnectionUsersOrigin,
  startConnectionUsersOrigin,
} from "../support/connection-users-origin.ts";
import { startOrigin } from "../support/http-proxy-world.ts";

let origin: ConnectionUsersOrigin;
const opened: OriginClient[] = [];
beforeEach(async () => {
  origin = await startConnectionUsersOrigin("Negotiate");
});
afterEach(async () => {
  for (const client of opened.splice(0)) client.close();
  await origin[Symbol.asyncDispose]();
});

function openClient(limits = SLOT_LIMITS): OriginClient {
  const connections = new OriginConnections(SYSTEM_TRUST, undefined, limits);
  const client = createOriginClient({ connections, clock: systemClock });
  opened.push(client);
  return client;
}

async function open(
  client: OriginClient,
  port: number,
  authorization?: string,
  signal = AbortSignal.timeout(20_000),
  from?: string,
): Promise<OriginResponse> {
  const url = new URL(`http://127.0.0.1:${port}/x`);
  const headers = authorization === undefined ? [] : [["Authorization", authorization] as const];
  const asked = { method: "GET", range: undefined, ifRange: undefined, useTls: false } as const;
  return client.open({ ...asked, url, headers, client: from }, signal);
}

async function readAway(response: OriginResponse): Promise<void> {
  for await (const _ of response.body);
}

test.each([
  ["that showed credentials for it", ["Negotiate type1", undefined]],
  ["that was asked for such credentials", [undefined, undefined]],
])("no request follows one %s on its connection", async (_what, shown) => {
  const client = openClient();
  for (const authorization of shown) {
    await readAway(await open(client, origin.port, authorization));
  }
  expect(origin.requests.map(({ connection }) => connection)).toEqual([0, 1]);
});

test("others share connections as ever", async () => {
  const ports = new Set<number | undefined>();
  await using plain = await startOrigin(({ socket }, response) => {
    ports.add(socket.remotePort);
    response.end("content");
  });
  const client = openClient();
  for (const authorization of ["Basic YTpi", undefined]) {
    await readAway(await open(client, plain.port, authorization));
  }
  expect(ports.size).toBe(1);
});

test("a download that gets no connection fails in time and says why, and one that is over makes room", async () => {
  await using slow = await startOrigin((_request, response) => {
    response.write("the first bytes");
  });
  const client = openClient({ ...SLOT_LIMITS, perOrigin: 1, waitMs: 200 });
  const first = await open(client, slow.port);
  await expect(open(client, slow.port)).rejects.toMatchObject({
    code: "origin_busy",
    message: `all 1 connections to 127.0.0.1:${slow.port} are in use, and none became free within 200 ms`,
  });
  const gone = new AbortController();
  const waiting = open(client, slow.port, undefined, gone.signal);
  gone.abort(new Error("the client is gone"));
  await expect(waiting).rejects.toThrow("the client is gone");
  const next = open(client, slow.port);
  first.discard();
  (await next).discard();
});

test("endless answers of one address leave connections to others, and are told apart by address", async () => {
  await using endless = await startOrigin((_request, response) => {
    response.writeHead(200).write("x");
  });
  const limits = { ...SLOT_LIMITS, perOrigin: 3, perClient: 2, waitMs: 50 };
  const client = openClient(limits);
  const openFrom = async (from: string) =>
    open(client, endless.port, undefined, AbortSignal.timeout(20_000), from);
  const [first, second] = [await openFrom("10.0.0.1"), await openFrom("10.0.0.1")];
  await expect(openFrom("10.0.0.1")).rejects.toThrow("for 10.0.0.1 are in use");
  const others = await openFrom("10.0.0.2");
  first.discard();
  const again = await openFrom("10.0.0.1");
  for (const answer of [second, others, again]) answer.discard();
});
