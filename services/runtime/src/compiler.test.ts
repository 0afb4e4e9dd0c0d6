import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { OPTIMIZE_FLAG } from "./compiler.ts";

/** A flag that Node does not know any more is a line on stderr when it is given at run time, and nothing else. */
test("this Node knows the flag that says when functions are compiled for the last time", () => {
  const { stdout } = spawnSync(process.execPath, ["--v8-options"], { encoding: "utf8" });
  expect(stdout).toContain(` ${OPTIMIZE_FLAG} `);
});
