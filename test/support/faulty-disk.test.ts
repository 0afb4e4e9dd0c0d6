import { constants } from "node:fs";
import { pbkdf2 } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { FaultyDisk } from "./faulty-disk.ts";
import { makeTempDir } from "./temp-dir.ts";

/** As many threads as Node has for files, each busy for some tens of milliseconds. */
const THREAD_COUNT = 4;
const ROUNDS = 50_000;

test("a torn write has ended by the time its caller hears of the failure", async () => {
  await using dir = await makeTempDir("torn");
  const path = join(dir.path, "file");
  const disk = new FaultyDisk(dir.path, ({ name }) => (name === "write" ? "torn" : undefined));
  const fd = disk.open(path, constants.O_CREAT | constants.O_RDWR);
  const busy = Array.from({ length: THREAD_COUNT }, async () =>
    promisify(pbkdf2)("", "", ROUNDS, 32, "sha256"),
  );
  const write = disk.write(fd, Buffer.alloc(10, 1), { at: 0, length: 10, position: 0 });
  await expect(write).rejects.toThrow("EIO");
  expect(disk.lookSync(path)?.sizeBytes).toBe(5);
  disk.close(fd);
  await Promise.all(busy);
});
