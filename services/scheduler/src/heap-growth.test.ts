import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { HEAP_GROWTH_FLAG } from "./heap-growth.ts";

/** Node says nothing when it is given a flag at run time that it does not know any more. */
test("this Node knows the flag that bounds the growth of the heap", () => {
  const { stdout } = spawnSync(process.execPath, ["--v8-options"], { encoding: "utf8" });
  expect(stdout).toContain(` ${HEAP_GROWTH_FLAG} `);
});
