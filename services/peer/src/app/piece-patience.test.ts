import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { PiecePatience } from "./piece-patience.ts";

const WAIT_MS = 19_096;

let given: string[];
let patience: PiecePatience;
beforeEach(() => {
  vi.useFakeTimers();
  given = [];
  patience = new PiecePatience(WAIT_MS, ({ message }) => given.push(message));
});
afterEach(() => {
  patience.stop();
  vi.useRealTimers();
});

test("ends when no piece comes", () => {
  vi.advanceTimersByTime(WAIT_MS - 1);
  patience.pieceCame();
  vi.advanceTimersByTime(WAIT_MS - 1);
  expect(given).toEqual([]);
  vi.advanceTimersByTime(1);
  expect(given).toEqual([`no piece came for ${WAIT_MS} ms`]);
});

test("does not while our own limit holds the bytes back", () => {
  patience.writing(1);
  vi.advanceTimersByTime(5 * WAIT_MS);
  expect(given).toEqual([]);
  patience.writing(0);
  vi.advanceTimersByTime(WAIT_MS);
  expect(given).toHaveLength(1);
});
