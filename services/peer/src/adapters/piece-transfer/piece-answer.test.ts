import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { MemoryPieceStore } from "../../../../../test/support/memory-piece-store.ts";
// @boundaries-ignore tests share builders that no service ships
import { aTask, fillTask } from "../../../../../test/support/task-builders.ts";
import { BufferPool } from "../buffer-pool.ts";
import { sendBody } from "./piece-answer.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
});
afterEach(() => {
  vi.useRealTimers();
});

test("a piece that cannot even be hashed breaks the answer off and leaves nothing running", async () => {
  const task = await new MemoryPieceStore().create(aTask("a", 1000));
  if (typeof task === "string") throw new RangeError(`refused: ${task}`);
  await fillTask(task, Buffer.alloc(1000, 1));
  vi.spyOn(task, "isProven").mockReturnValue(false);
  vi.spyOn(task, "prove").mockRejectedValue(new Error("EIO: i/o error"));
  const response = new ServerResponse(new IncomingMessage(new Socket()));
  const sent = await sendBody(response, task, { start: 0, end: 1000 }, new BufferPool());
  expect(sent).toEqual({ bytes: 0, end: "read_failed" });
  expect(response.destroyed).toBe(true);
  expect(vi.getTimerCount()).toBe(0);
});
