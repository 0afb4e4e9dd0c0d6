import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { ChildSpec } from "./children.ts";
import { Supervision } from "./supervision.ts";

/** Notes each signal; ends a moment after the first, so that a second one would be seen. */
const NOTES_SIGNALS = `
process.on("SIGTERM", () => {
  process.stdout.write("SIGTERM\\n");
  setTimeout(() => process.exit(0), 300);
});
setInterval(() => {}, 1_000);
if (process.argv[1] === "ready") process.send({ type: "ready" });
else process.stdout.write("starting\\n");
`;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "lacewing-supervision-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function specOf(name: string, becomes: "ready" | "never-ready"): ChildSpec {
  return {
    name,
    command: process.execPath,
    args: ["--eval", NOTES_SIGNALS, becomes],
    env: {},
    cwd: dir,
    logFile: logFileOf(name),
    readiness: "ipc",
    stopSignal: "SIGTERM",
    stopTimeoutMs: 10_000,
  };
}

function logFileOf(name: string): string {
  return join(dir, `${name}.log`);
}

test("a stop of a cluster that is up, and whatever else asks for it, signals each child once", async () => {
  const cancel = new AbortController();
  const supervision = new Supervision(() => {}, cancel.signal);
  await supervision.start(specOf("peer-1", "ready"), "peer-1");
  await supervision.start(specOf("scheduler", "ready"));
  supervision.started();
  cancel.abort();
  await Promise.all([supervision.stop(), supervision.stop()]);
  await supervision.stop();
  for (const name of ["peer-1", "scheduler"]) {
    expect(readFileSync(logFileOf(name), "utf8")).toBe("SIGTERM\n");
  }
});

test("whoever gives up a start signals each child once", async () => {
  const cancel = new AbortController();
  const supervision = new Supervision(() => {}, cancel.signal);
  const starting = supervision.start(specOf("peer-1", "never-ready"), "peer-1");
  while (!readFileSync(logFileOf("peer-1"), "utf8").includes("starting")) await sleep(10);
  cancel.abort();
  await expect(starting).rejects.toThrow("stopped");
  await supervision.stop();
  expect(readFileSync(logFileOf("peer-1"), "utf8")).toBe("starting\nSIGTERM\n");
});

test("once the cluster is up, only its holder stops it", async () => {
  const cancel = new AbortController();
  const supervision = new Supervision(() => {}, cancel.signal);
  await supervision.start(specOf("scheduler", "ready"));
  supervision.started();
  cancel.abort();
  await sleep(200);
  expect(readFileSync(logFileOf("scheduler"), "utf8")).toBe("");
  await supervision.stop();
});
