import { createServer } from "node:net";
import { expect, test } from "vitest";
import { anyFreePort, choosePorts, isPortFree } from "./ports.ts";

const wishes = [
  { name: "peer-1", preferred: 65_001 },
  { name: "peer-2", preferred: 65_002 },
  { name: "nats", preferred: 4222 },
];

async function choose(
  taken: readonly number[],
  remembered: Readonly<Record<string, number>> = {},
  anyFree = 50_000,
) {
  return choosePorts(
    wishes,
    remembered,
    async (port) => !taken.includes(port),
    async () => anyFree,
  );
}

test("free preferred ports are taken as they are", async () => {
  expect(await choose([])).toEqual({
    ports: { "peer-1": 65_001, "peer-2": 65_002, nats: 4222 },
    moved: [],
  });
});

test("a taken port moves to the next free one that no other part wants", async () => {
  expect(await choose([65_001, 4222])).toEqual({
    ports: { "peer-1": 65_003, "peer-2": 65_002, nats: 4223 },
    moved: [
      { name: "peer-1", wanted: 65_001, chosen: 65_003 },
      { name: "nats", wanted: 4222, chosen: 4223 },
    ],
  });
});

test("a remembered port is taken again without a word", async () => {
  expect(await choose([65_001], { "peer-1": 65_010 })).toMatchObject({
    ports: { "peer-1": 65_010 },
    moved: [],
  });
});

test("with every neighbour taken the system chooses", async () => {
  const neighbours = Array.from({ length: 40 }, (_, index) => 4222 + index);
  expect((await choose(neighbours)).ports["nats"]).toBe(50_000);
});

test("no port above 65535 is tried", async () => {
  const tried: number[] = [];
  const choice = await choosePorts(
    [{ name: "peer-1", preferred: 65_534 }],
    {},
    async (port) => {
      tried.push(port);
      return false;
    },
    async () => 50_000,
  );
  expect(tried).toEqual([65_534, 65_535]);
  expect(choice.ports).toEqual({ "peer-1": 50_000 });
});

test("a port is not free while a server listens on it, on loopback or on all addresses", async () => {
  for (const host of ["127.0.0.1", "0.0.0.0"]) {
    const port = await anyFreePort();
    const server = createServer();
    await new Promise<void>((settle) => server.listen({ host, port }, settle));
    expect(await isPortFree(port)).toBe(false);
    await new Promise((settle) => server.close(settle));
    expect(await isPortFree(port)).toBe(true);
  }
});
