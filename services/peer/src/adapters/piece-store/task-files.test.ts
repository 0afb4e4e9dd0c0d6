import { constants, existsSync } from "node:fs";
import { mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { nodeDisk } from "../disk/node-disk.ts";
import { closeFile, OpenTaskFiles, readExactly, writeAll } from "./task-files.ts";
import { WritesInFlight } from "./writes-in-flight.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "lw-files-"));
});
afterEach(async () => rm(dir, { recursive: true }));

const pathsIn = (folder: string) => ({
  data: join(folder, "data"),
  journal: join(folder, "journal"),
});

async function firstByte(fd: number): Promise<string> {
  const byte = Buffer.alloc(1);
  await readExactly(nodeDisk, fd, byte, 1, 0);
  return byte.toString();
}

describe("the open files of tasks", () => {
  test("are not opened again once their task is abandoned, though another has the same paths now", async () => {
    const files = new OpenTaskFiles(nodeDisk);
    const [old, next] = [pathsIn(dir), pathsIn(dir)];
    await files.create(old, async ({ dataFd }) => writeAll(nodeDisk, dataFd, Buffer.from("a"), 0));
    files.abandon(old);
    await files.create(next, async ({ dataFd }) => writeAll(nodeDisk, dataFd, Buffer.from("b"), 0));
    await expect(files.use(old, async ({ dataFd }) => firstByte(dataFd))).rejects.toMatchObject({
      code: "store_read_failed",
    });
    expect(await files.use(next, async ({ dataFd }) => firstByte(dataFd))).toBe("b");
    files.close();
  });

  test("stay open for whoever uses them when they are forgotten, and are opened anew afterwards", async () => {
    const files = new OpenTaskFiles(nodeDisk);
    const paths = pathsIn(dir);
    await files.create(paths, async ({ dataFd }) => {
      await writeAll(nodeDisk, dataFd, Buffer.from("a"), 0);
      await writeFile(join(dir, "other"), "b");
      await rename(join(dir, "other"), paths.data);
      files.forget(paths);
      expect(await firstByte(dataFd)).toBe("a");
    });
    expect(await files.use(paths, async ({ dataFd }) => firstByte(dataFd))).toBe("b");
    files.close();
  });

  test("that end early are a failure to read, not a short answer", async () => {
    await writeFile(join(dir, "short"), "abc");
    const fd = nodeDisk.open(join(dir, "short"), constants.O_RDWR);
    await expect(readExactly(nodeDisk, fd, Buffer.alloc(10), 10, 0)).rejects.toMatchObject({
      code: "store_read_failed",
      retryable: false,
    });
    closeFile(nodeDisk, fd);
  });

  test.skipIf(!existsSync("/dev/full"))("on a full disk say that there is no space", async () => {
    const fd = nodeDisk.open("/dev/full", constants.O_RDWR);
    await expect(writeAll(nodeDisk, fd, Buffer.from("a"), 0)).rejects.toMatchObject({
      code: "store_no_space",
    });
    closeFile(nodeDisk, fd);
  });
});

test("a digest waits for the writes that touch its bytes, failed ones too, and for no others", async () => {
  const writes = new WritesInFlight();
  const ends: (() => void)[] = [];
  const started = async (start: number, end: number, isFailing: boolean) => {
    const writing = new Promise<void>((resolve, reject) => {
      ends.push(() => (isFailing ? reject(new Error("disk")) : resolve()));
    });
    return writes.track(start, end, writing).catch(() => {});
  };
  const all = [started(0, 10, false), started(5, 15, true), started(10, 20, false)];
  let isSettled = false;
  const settled = writes.settled(0, 10).then(() => {
    isSettled = true;
  });
  ends[0]?.();
  await all[0];
  expect(isSettled).toBe(false);
  ends[1]?.();
  await settled;
  expect(writes.count).toBe(1);
  ends[2]?.();
  await Promise.all(all);
  expect(writes.count).toBe(0);
});
