import { beforeEach, describe, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import {
  MemoryPieceStore,
  type MemoryStoredTask,
} from "../../../../test/support/memory-piece-store.ts";
import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { DeliveredRecord } from "./delivered-record.ts";
import { type ReadableTask, TaskReader } from "./task-reader.ts";

const PIECE_BYTES = 8;
const CONTENT = Buffer.from("abcdefghijklmnop");
const LIE = Buffer.from("abcXefgh");
const WITHHELD_FROM = CONTENT.length - 4;

let stored: MemoryStoredTask;
let confirmed: boolean[];

beforeEach(async () => {
  stored = await storedInPiecesOf(PIECE_BYTES);
  confirmed = [];
});

async function storedInPiecesOf(pieceLengthBytes: number): Promise<MemoryStoredTask> {
  const taskId = parseTaskId("a".repeat(64));
  if (taskId === undefined) throw new Error("the task id is malformed");
  const store = new MemoryPieceStore();
  await store.create({
    taskId,
    url: "http://origin.test/file",
    sharingDomain: "http://origin.test",
    anchor: undefined,
    lengthBytes: CONTENT.length,
    pieceLengthBytes,
    etag: '"1"',
    lastModified: "",
    contentType: "",
    createdAtMs: 0,
  });
  const created = store.get(taskId);
  if (created === undefined) throw new Error("the store took no task");
  return created;
}

async function hold(bytes: Buffer, pieceIndex: number): Promise<void> {
  await stored.write(bytes, pieceIndex * PIECE_BYTES);
  expect((await stored.commitPiece(pieceIndex, undefined)).ok).toBe(true);
}

/** A reader of the whole; nobody has noticed that a piece was written anew. */
function reader(): TaskReader {
  const record = new DeliveredRecord(stored);
  const task: ReadableTask = {
    stored,
    failure: undefined,
    hasRewritten: false,
    readableEnd: () => CONTENT.length,
    trafficOf: () => undefined,
    pieceLost: () => {},
    changed: async () => {},
    detach: () => {},
  };
  return new TaskReader({
    spans: [{ start: 0, end: CONTENT.length }],
    task,
    withheldFrom: WITHHELD_FROM,
    signal: new AbortController().signal,
    rest: {
      canContinue: false,
      delivering: (span) => record.begin(span),
      confirm: async (isRewritten) => {
        confirmed.push(isRewritten);
        if (!(await record.isStored(isRewritten))) throw new Error("something else was delivered");
      },
      read: async () => 0,
      close: () => {},
    },
  });
}

async function next(from: TaskReader): Promise<string> {
  const into = Buffer.alloc(CONTENT.length);
  return into.toString("latin1", 0, await from.read(into));
}

describe("the last bytes of a content with an anchor", () => {
  test("come once what was handed over before them is confirmed", async () => {
    await hold(CONTENT.subarray(0, PIECE_BYTES), 0);
    await hold(CONTENT.subarray(PIECE_BYTES), 1);
    const client = reader();
    await stored.markVerified();
    expect(await next(client)).toBe("abcdefghijkl");
    expect(confirmed).toEqual([]);
    expect(await next(client)).toBe("mnop");
    expect(confirmed).toEqual([false]);
  });

  test("do not come when a piece was lost in the meantime and came back with other bytes", async () => {
    await hold(LIE, 0);
    const client = reader();
    await hold(CONTENT.subarray(PIECE_BYTES), 1);
    expect(await next(client)).toBe("abcXefghijkl");
    stored.bytes[0] = 0;
    expect(await stored.recheck([0])).toEqual([0]);
    await hold(CONTENT.subarray(0, PIECE_BYTES), 0);
    await stored.markVerified();
    await expect(next(client)).rejects.toThrow("something else was delivered");
  });

  test("come with all others when the whole was verified before the first one", async () => {
    await hold(CONTENT.subarray(0, PIECE_BYTES), 0);
    await hold(CONTENT.subarray(PIECE_BYTES), 1);
    await stored.markVerified();
    expect(await next(reader())).toBe("abcdefghijklmnop");
    expect(confirmed).toEqual([]);
  });
});

describe("a content in memory", () => {
  test("is taken as a whole once it is verified", async () => {
    stored = await storedInPiecesOf(CONTENT.length);
    const client = reader();
    await hold(CONTENT, 0);
    expect(client.takeWhole()).toBeUndefined();
    await stored.markVerified();
    expect(Buffer.from(client.takeWhole() ?? []).toString()).toBe(CONTENT.toString());
    expect(client.delivered.localPeer).toBe(CONTENT.length);
    expect(await next(client)).toBe("");
  });

  test("is not taken as a whole by a client that has some of it", async () => {
    stored = await storedInPiecesOf(CONTENT.length);
    const client = reader();
    await hold(CONTENT, 0);
    await stored.markVerified();
    await next(client);
    expect(client.takeWhole()).toBeUndefined();
  });
});
