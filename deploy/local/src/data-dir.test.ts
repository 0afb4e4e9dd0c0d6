import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import {
  claimDataDir,
  dataHome,
  type Owner,
  readOwner,
  resolveDataDir,
  runningSupervisor,
  shortHash,
} from "./data-dir.ts";

const home = "/home/ada/.local/share/lacewing";
const own = `${home}/local-${shortHash("/src/mine")}`;
const ownedBy = (checkout: string): Owner => ({
  checkout,
  supervisorPid: null,
  supervisorStart: null,
});

function choose(owners: Readonly<Record<string, Owner>>, explicit?: string) {
  return resolveDataDir({
    explicit,
    home,
    checkout: "/src/mine",
    ownerOf: (dataDir) => owners[dataDir],
  });
}

describe("choosing the data dir", () => {
  test("the first checkout of a user gets the usual place", () => {
    expect(choose({})).toEqual({ dataDir: `${home}/local` });
  });

  test("a checkout finds its own data again", () => {
    expect(choose({ [`${home}/local`]: ownedBy("/src/mine") })).toEqual({
      dataDir: `${home}/local`,
    });
  });

  test("a second checkout gets a place of its own and learns who has the usual one", () => {
    expect(choose({ [`${home}/local`]: ownedBy("/src/other") })).toEqual({
      dataDir: own,
      displacedBy: "/src/other",
    });
  });

  test("a displaced checkout keeps its place after the other one was purged", () => {
    expect(choose({ [own]: ownedBy("/src/mine") })).toEqual({ dataDir: own });
  });

  test("--data wins over everything", () => {
    expect(choose({ [`${home}/local`]: ownedBy("/src/other") }, "/srv/data")).toEqual({
      dataDir: "/srv/data",
    });
  });

  test("the data home follows XDG_DATA_HOME, and an empty one counts as unset", () => {
    expect(dataHome({ XDG_DATA_HOME: "/x", HOME: "/home/ada" })).toBe("/x/lacewing");
    expect(dataHome({ XDG_DATA_HOME: "", HOME: "/home/ada" })).toBe(home);
  });
});

describe("claiming a data dir", () => {
  const directory = mkdtempSync(join(tmpdir(), "lacewing-claim-"));
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  test.runIf(process.platform === "linux")(
    "a claim names its holder, excludes a second one, and keeps the owner after its release",
    async () => {
      const dataDir = join(directory, "data");
      const claim = await claimDataDir(dataDir, "/src/mine");
      expect(runningSupervisor(dataDir)).toBe(process.pid);
      expect(statSync(join(dataDir, "owner.json")).mode & 0o777).toBe(0o600);
      await expect(claimDataDir(dataDir, "/src/mine")).rejects.toThrow(
        "another process is running",
      );
      claim.release();
      expect(runningSupervisor(dataDir)).toBeUndefined();
      expect(readOwner(dataDir)?.checkout).toBe("/src/mine");
      (await claimDataDir(dataDir, "/src/mine")).release();
    },
  );
});
