import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { context, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { afterEach, describe, expect, test, vi } from "vitest";
import { LogFile } from "./log-file.ts";
import { createLog, type LogOptions } from "./log.ts";
import { createMemoryLog } from "./memory-log.ts";
import { contextFromTraceparent } from "./trace.ts";

const folders: string[] = [];

afterEach(() => {
  context.disable();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "log-"));
  folders.push(folder);
  return folder;
}

function logToLines(options: Partial<LogOptions> = {}) {
  const lines: unknown[] = [];
  const writes: string[] = [];
  const log = createLog({
    service: "lacewing-peer",
    level: "info",
    hostId: "h1",
    ...options,
    write: (text) => {
      writes.push(text);
      for (const line of text.trimEnd().split("\n")) lines.push(JSON.parse(line));
    },
  });
  return { log, lines, writes };
}

describe("a log line", () => {
  test("carries ISO time, level name, service, host and the event, also as msg", () => {
    const { log, lines } = logToLines();
    log.info("peer task done", { costMs: 12 });
    log.close();
    expect(JSON.stringify(lines)).toMatch(/"time":"\d{4}-\d\d-\d\dT[\d:.]+Z"/);
    expect(lines).toMatchObject([
      {
        level: "info",
        service: "lacewing-peer",
        hostId: "h1",
        event: "peer task done",
        msg: "peer task done",
        costMs: 12,
      },
    ]);
  });

  test("carries the ids of the active span", () => {
    context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
    const { log, lines } = logToLines();
    const parent = contextFromTraceparent(`00-${"a".repeat(32)}-${"b".repeat(16)}-01`);
    context.with(parent, () => log.info("inside"));
    log.close();
    expect(trace.getActiveSpan()).toBeUndefined();
    expect(lines).toMatchObject([{ trace_id: "a".repeat(32), span_id: "b".repeat(16) }]);
  });

  test("below the level is not written", () => {
    const { log, lines } = logToLines();
    log.debug("detail");
    expect(lines).toEqual([]);
  });

  test("of a child carries the child's fields, redacted", () => {
    const { log, lines } = logToLines();
    log
      .child({ taskId: "t1", token: "s3cret" })
      .warn("slow", { url: "http://a.test/x?sig=s3cret" });
    expect(lines).toMatchObject([{ taskId: "t1", token: "[redacted]", url: "http://a.test/x" }]);
  });

  test("never holds one of its own keys twice", () => {
    const { log, lines } = logToLines();
    log.info("started", { time: "noon", level: 9 });
    log.close();
    expect(lines).toMatchObject([{ level: "info", field_time: "noon", field_level: 9 }]);
  });

  test("is in the file a moment later, in folders made for it", async () => {
    const file = join(temporaryFolder(), "logs", "core.log");
    const { log } = logToLines({ file });
    log.info("started");
    await vi.waitFor(() => expect(readFileSync(file, "utf8")).toContain('"event":"started"'));
    log.close();
  });

  test("shares one write with the lines around it, until a warning sends them off", () => {
    const { log, writes } = logToLines();
    log.info("one");
    log.child({ part: "store" }).info("two");
    expect(writes).toHaveLength(0);
    log.warn("three");
    expect(writes).toHaveLength(1);
    expect(writes[0]?.match(/"event"/g)).toHaveLength(3);
  });
});

describe("a log file", () => {
  test("that reached its size becomes the old one, and at most two exist", () => {
    const path = join(temporaryFolder(), "core.log");
    const file = new LogFile(path, 10);
    for (const line of ["first line\n", "second line\n", "third\n"]) file.write(line);
    file.close();
    expect(readFileSync(`${path}.1`, "utf8")).toBe("second line\n");
    expect(readFileSync(path, "utf8")).toBe("third\n");
  });

  test("that cannot be opened costs no exception", () => {
    const blocker = join(temporaryFolder(), "file");
    writeFileSync(blocker, "");
    const file = new LogFile(join(blocker, "core.log"));
    expect(() => file.write("line\n")).not.toThrow();
  });
});

test("the memory log keeps the lines of its children, redacted", () => {
  const log = createMemoryLog();
  log.child({ taskId: "t1" }).error("disk full", { password: "s3cret" });
  expect(log.entries).toEqual([
    { level: "error", event: "disk full", fields: { taskId: "t1", password: "[redacted]" } },
  ]);
});
