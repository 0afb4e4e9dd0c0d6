import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { createMemoryLog } from "@lacewing/observability/memory-log.ts";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { nodeDisk } from "../disk/node-disk.ts";
import { DiskFactJournal, type FactJournalOptions } from "./disk-fact-journal.ts";

let dir: string;
let path: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "lw-facts-"));
  path = join(dir, "facts.log");
});
afterEach(async () => rm(dir, { recursive: true }));

function aFact(downloadId: string, outcome = "finished"): DownloadFinished {
  return DownloadFinished.fromPartial({ downloadId, outcome, url: "http://origin.test/" });
}

async function reopened(options?: FactJournalOptions): Promise<DiskFactJournal> {
  return DiskFactJournal.open(path, createMemoryLog(), options);
}

/** What a start after a crash finds. */
async function afterCrash(journal: DiskFactJournal): Promise<[string, string][]> {
  await journal.close();
  const next = await reopened();
  const found = [...next.pending()].map((fact): [string, string] => [
    fact.downloadId,
    fact.outcome,
  ]);
  await next.close();
  return found;
}

test("a download that had begun when the process died is interrupted at the next start", async () => {
  const journal = await reopened();
  journal.begin(aFact("a", "interrupted"));
  journal.begin(aFact("b", "interrupted"));
  journal.end(aFact("b"));
  expect(await afterCrash(journal)).toEqual([
    ["b", "finished"],
    ["a", "interrupted"],
  ]);
});

test("of a download that was begun several times the newest account counts, also when the log was written anew", async () => {
  for (const compactBytes of [undefined, 1]) {
    const journal = await reopened(compactBytes === undefined ? {} : { compactBytes });
    for (const costMs of [1, 2_000, 4_000]) {
      journal.begin({ ...aFact("a", "interrupted"), costMs });
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    await journal.close();
    const next = await reopened();
    expect([...next.pending()].map(({ costMs }) => costMs)).toEqual([4_000]);
    next.receipted(["a"]);
    await next.close();
  }
});

test("a receipted fact is not found again", async () => {
  const journal = await reopened();
  journal.end(aFact("a"));
  journal.end(aFact("b"));
  journal.receipted(["a"]);
  expect([...journal.pending()].map(({ downloadId }) => downloadId)).toEqual(["b"]);
  expect(await afterCrash(journal)).toEqual([["b", "finished"]]);
});

test("a download that ends before its beginning was written takes one line", async () => {
  const journal = await reopened();
  journal.begin(aFact("quick", "interrupted"));
  journal.begin(aFact("slow", "interrupted"));
  journal.end(aFact("quick"));
  await journal.close();
  const lines = (await readFile(path, "utf8")).trimEnd().split("\n");
  expect(lines.map((line) => line.split(" ").slice(0, 2))).toEqual([
    ["end", "quick"],
    ["begin", "slow"],
  ]);
});

test("a torn line is skipped and the whole ones around it are read", async () => {
  const journal = await reopened();
  journal.end(aFact("a"));
  await journal.close();
  const line = await readFile(path, "utf8");
  await appendFile(path, `${line.slice(0, -6)}\n${line.replace(" a ", " x ")}end c`);
  expect(await afterCrash(await reopened())).toEqual([["a", "finished"]]);
});

test("a beginning that arrives behind its end opens nothing", async () => {
  const other = await DiskFactJournal.open(join(dir, "other.log"), createMemoryLog());
  other.begin(aFact("a", "interrupted"));
  await other.close();
  const journal = await reopened();
  journal.end(aFact("a"));
  await journal.close();
  await appendFile(path, await readFile(join(dir, "other.log"), "utf8"));
  expect(await afterCrash(await reopened())).toEqual([["a", "finished"]]);
});

test.each([
  ["", {}],
  [", also what memory has no room for", { pendingCountMax: 3 }],
])("writing the log anew loses nothing that is not settled%s", async (_, options) => {
  const journal = await reopened({ compactBytes: 2000, ...options });
  journal.begin(aFact("running", "interrupted"));
  const left: string[] = [];
  for (let index = 0; index < 300; index++) {
    journal.begin(aFact(`d${index}`, "interrupted"));
    journal.end(aFact(`d${index}`));
    if (index % 10 === 0) left.push(`d${index}`);
    else journal.receipted([`d${index}`]);
    // A turn of the event loop is one write, and each may be followed by a compaction.
    if (index % 7 === 0) await new Promise(setImmediate);
  }
  const found = await afterCrash(journal);
  expect(found.filter(([, outcome]) => outcome === "finished").map(([id]) => id)).toEqual(left);
  expect(found.filter(([, outcome]) => outcome === "interrupted")).toEqual([
    ["running", "interrupted"],
  ]);
  expect((await readFile(path, "utf8")).length).toBeLessThan(12_000);
});

test("a fact is read back as it was written, whatever its texts hold", async () => {
  const fact = DownloadFinished.fromPartial({
    downloadId: "a",
    url: "http://origin.test/a file",
    error: 'the origin said "no"\nand \u2028 went away — twice ',
    fetched: { backToSource: 2 ** 40 },
    degraded: true,
  });
  const journal = await reopened();
  journal.end(fact);
  await journal.close();
  const next = await reopened();
  expect([...next.pending()]).toEqual([fact]);
  await next.close();
});

test("lines that hold the encoded message are understood", async () => {
  const fact = aFact("old");
  const text = `end old ${Buffer.from(DownloadFinished.encode(fact).finish()).toString("base64url")}`;
  await writeFile(path, `${text} ${crc32(text).toString(16)}\n`);
  expect(await afterCrash(await reopened())).toEqual([["old", "finished"]]);
});

function full(): Error {
  return Object.assign(new Error("ENOSPC: no space left on device"), { code: "ENOSPC" });
}

test("lines that a full disk takes in part only are written with the next ones, once", async () => {
  let isFull = true;
  const disk: typeof nodeDisk = {
    ...nodeDisk,
    write: async (fd, bytes, stretch) => {
      if (!isFull) return nodeDisk.write(fd, bytes, stretch);
      await nodeDisk.write(fd, bytes, { ...stretch, length: Math.floor(stretch.length / 2) });
      throw full();
    },
  };
  const log = createMemoryLog();
  const journal = await DiskFactJournal.open(path, log, { disk });
  journal.end(aFact("a"));
  await vi.waitFor(() =>
    expect(log.entries.map(({ event }) => event)).toContain("download facts cannot be written"),
  );
  isFull = false;
  journal.begin(aFact("b", "interrupted"));
  expect(await afterCrash(journal)).toEqual([
    ["a", "finished"],
    ["b", "interrupted"],
  ]);
});

test("a log that cannot be written anew grows on and loses nothing", async () => {
  const disk: typeof nodeDisk = { ...nodeDisk };
  const log = createMemoryLog();
  const journal = await DiskFactJournal.open(path, log, { disk, compactBytes: 500 });
  disk.rename = () => {
    throw full();
  };
  for (let index = 0; index < 20; index++) {
    journal.end(aFact(`d${index}`));
  }
  expect((await afterCrash(journal)).map(([id]) => id)).toEqual(
    Array.from({ length: 20 }, (_, index) => `d${index}`),
  );
  expect(log.entries.map(({ event }) => event)).toContain("the log of download facts grows on");
});

test("a log that can be neither written anew nor looked at for a while loses nothing", async () => {
  const disk: typeof nodeDisk = { ...nodeDisk };
  const log = createMemoryLog();
  const said = (): readonly string[] => log.entries.map(({ event }) => event);
  const journal = await DiskFactJournal.open(path, log, { disk, compactBytes: 500 });
  disk.rename = () => {
    throw full();
  };
  disk.look = async () => Promise.reject(full());
  disk.lookSync = () => {
    throw full();
  };
  for (let index = 0; index < 20; index++) journal.end(aFact(`d${index}`));
  await vi.waitFor(() => expect(said()).toContain("the log of download facts grows on"));
  journal.end(aFact("later"));
  await vi.waitFor(() => expect(said()).toContain("download facts cannot be written"));
  Object.assign(disk, nodeDisk);
  journal.end(aFact("last"));
  expect((await afterCrash(journal)).map(([id]) => id)).toEqual([
    ...Array.from({ length: 20 }, (_, index) => `d${index}`),
    "later",
    "last",
  ]);
});
