import { expect, test } from "vitest";
import { commandLineOf, isAlive, processStart, startOfStat } from "./process-table.ts";

const fieldsAfterName = (state: string) =>
  [state, ...Array.from({ length: 18 }, (_, index) => index), "4242", "rest"].join(" ");

test("the start time is found behind a command name with spaces and parentheses", () => {
  expect(startOfStat(`7 (a) b (c)) ${fieldsAfterName("S")}`)).toBe("4242");
});

test("a zombie does not live", () => {
  expect(startOfStat(`7 (node) ${fieldsAfterName("Z")}`)).toBeUndefined();
});

test("this process lives, always with the same start, and shows its command line", () => {
  expect(isAlive(process.pid)).toBe(true);
  expect(processStart(process.pid)).toBe(processStart(process.pid));
  expect(commandLineOf(process.pid)).not.toBe("");
});

test("a pid beyond the system's range belongs to nobody", () => {
  expect(isAlive(2 ** 30)).toBe(false);
});
