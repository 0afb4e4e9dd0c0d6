import { once } from "node:events";
import { createServer, get, IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { expect, test, vi } from "vitest";
import type { PullBody } from "../../app/ports.ts";
import { begun, isOpenAfter, sendWhole } from "./body-writer.ts";

const TIMEOUT_MS = 20;

function bodyOf(text: string, bytesPerRead: number): PullBody {
  let rest = Buffer.from(text);
  return {
    read: async (into) => {
      const count = Math.min(into.length, rest.length, bytesPerRead);
      into.set(rest.subarray(0, count));
      rest = rest.subarray(count);
      return count;
    },
  };
}

async function textOf(body: PullBody, bufferBytes: number): Promise<string> {
  const parts: Buffer[] = [];
  for (;;) {
    const buffer = Buffer.alloc(bufferBytes);
    const count = await body.read(buffer);
    if (count === 0) return Buffer.concat(parts).toString();
    parts.push(buffer.subarray(0, count));
  }
}

test.each([1, 3, 100])("a body that has begun loses no byte to reads of %i bytes", async (size) => {
  const body = await begun(bodyOf("a rather long content", 7), undefined, TIMEOUT_MS, () => {});
  expect(await textOf(body, size)).toBe("a rather long content");
});

test("an empty body ends at once", async () => {
  const body = await begun(bodyOf("", 1), undefined, TIMEOUT_MS, () => {});
  expect(await textOf(body, 10)).toBe("");
});

test("a body that fails before its first byte never begins", async () => {
  const body: PullBody = { read: async () => Promise.reject(new Error("nothing to be had")) };
  await expect(begun(body, undefined, TIMEOUT_MS, () => {})).rejects.toThrow("nothing to be had");
});

test("a body without a byte for too long is given up, and whoever waits for it is told", async () => {
  const told: string[] = [];
  const body: PullBody = { read: async () => new Promise(() => {}) };
  await expect(
    begun(body, undefined, TIMEOUT_MS, (reason) => told.push(reason.code)),
  ).rejects.toMatchObject({
    code: "content_timeout",
  });
  expect(told).toEqual(["content_timeout"]);
});

test("a small body that comes in parts is there as a whole before it is shown", async () => {
  const body = await begun(bodyOf("small content", 5), 13, TIMEOUT_MS, () => {});
  expect(Buffer.from(body.whole ?? []).toString()).toBe("small content");
});

test("a small body that is in memory is taken from there", async () => {
  const whole = Buffer.from("small content");
  const read = async () => Promise.reject(new Error("there is nothing to read"));
  const body = await begun({ read, takeWhole: () => whole }, 13, TIMEOUT_MS, () => {});
  expect(body.whole).toBe(whole);
  expect(await textOf(body, 10)).toBe("");
});

test("a small body that falters is shown as it comes, without a byte lost", async () => {
  const more = Promise.withResolvers<undefined>();
  const parts = bodyOf("small content", 5);
  let readCount = 0;
  const faltering: PullBody = {
    read: async (into) => {
      if (++readCount === 2) await more.promise;
      return parts.read(into);
    },
  };
  const body = await begun(faltering, 13, TIMEOUT_MS, () => {});
  expect(body.whole).toBeUndefined();
  more.resolve(undefined);
  expect(await textOf(body, 4)).toBe("small content");
});

test("a small body that ends early is not taken for whole", async () => {
  const body = await begun(bodyOf("short", 5), 13, TIMEOUT_MS, () => {});
  expect(body.whole).toBeUndefined();
  expect(await textOf(body, 100)).toBe("short");
});

test("a client that waits for its turn is waited for, and one that is gone is not", async () => {
  const asked = Promise.withResolvers<ServerResponse>();
  const server = createServer((_request, response) => asked.resolve(response));
  await once(server.listen(0, "127.0.0.1"), "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new TypeError("it has no port");
  const request = get({ port: address.port, host: "127.0.0.1" }).on("error", () => {});
  const response = await asked.promise;
  const listenerCount = response.listenerCount("close");
  expect(await isOpenAfter(response, Promise.resolve())).toBe(true);
  expect(response.listenerCount("close")).toBe(listenerCount);

  const endless = new Promise<void>(() => {});
  const leaving = isOpenAfter(response, endless);
  request.destroy();
  expect(await leaving).toBe(false);
  expect(await isOpenAfter(response, endless)).toBe(false);
  server.close();
});

test("an answer that waits behind another on its connection is not given up as stalled", () => {
  vi.useFakeTimers();
  try {
    const response = new ServerResponse(new IncomingMessage(new Socket()));
    const ends: string[] = [];
    sendWhole(response, Buffer.from("content"), (how) => ends.push(how));
    vi.advanceTimersByTime(24 * 3_600_000);
    expect(response.destroyed).toBe(false);
    expect(ends).toEqual([]);
    response.emit("close");
    expect(ends).toEqual(["client_gone"]);
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});
