import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { isOwnerDamaged, purgeDamaged } from "./damaged-dir.ts";
import { claimDataDir } from "./data-dir.ts";
import { DATA_DIR_MARK } from "./process-table.ts";

let home: string;
let dataDir: string;
beforeEach(() => {
  home = realpathSync(mkdtempSync(join(tmpdir(), "lacewing-damaged-")));
  dataDir = join(home, "local");
  for (const name of ["logs", "peers", "run", "nats"]) {
    mkdirSync(join(dataDir, name), { recursive: true });
  }
  write("owner.json", "{");
  write("secrets.json", "{}");
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

function write(name: string, text: string): void {
  writeFileSync(join(dataDir, name), text);
}

/** Why it is not purged; fails when anything was removed. */
async function refusal(): Promise<string> {
  const error: unknown = await purgeDamaged(dataDir).catch((thrown: unknown) => thrown);
  if (!existsSync(join(dataDir, "secrets.json"))) throw new Error("it was removed");
  return messageOf(error);
}

test.runIf(process.platform === "linux")(
  "a cluster that only its damaged owner.json keeps is removed, other damage or not",
  async () => {
    write("cluster.json", "");
    write("ports.json.1234.0a1b2c3d", "half");
    expect(isOwnerDamaged(dataDir)).toBe(true);
    await purgeDamaged(dataDir);
    expect(existsSync(dataDir)).toBe(false);
  },
);

test("a directory that holds anything else is left alone", async () => {
  write("thesis.tex", "");
  expect(await refusal()).toContain("thesis.tex");
});

test("a directory that only has an owner.json of somebody's is left alone", async () => {
  rmSync(join(dataDir, "peers"), { recursive: true });
  expect(await refusal()).toContain("it has no peers");
});

test.runIf(process.platform === "linux")(
  "a cluster that a process runs is left alone",
  async () => {
    rmSync(join(dataDir, "owner.json"));
    const claim = await claimDataDir(dataDir, "/src/mine");
    write("owner.json", "{");
    expect(await refusal()).toContain("a process is running the cluster");
    claim.release();
  },
);

test.runIf(process.platform === "linux")(
  "a cluster with a process that its supervisor left behind is left alone",
  async () => {
    const left = spawn(process.execPath, ["--eval", "setInterval(() => {}, 1000)"], {
      env: { [DATA_DIR_MARK]: dataDir },
    });
    await once(left, "spawn");
    expect(await refusal()).toContain(`process ${left.pid}`);
    left.kill("SIGKILL");
  },
);

test("an owner.json that is well, or missing, is not damaged", () => {
  write(
    "owner.json",
    JSON.stringify({ checkout: "/c", supervisorPid: null, supervisorStart: null }),
  );
  expect(isOwnerDamaged(dataDir)).toBe(false);
  rmSync(join(dataDir, "owner.json"));
  expect(isOwnerDamaged(dataDir)).toBe(false);
});
