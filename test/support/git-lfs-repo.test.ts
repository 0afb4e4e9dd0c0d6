import { appendFile, readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { cloneWithLfs, cloneWithoutLfs, pullLfs } from "./git-client.ts";
import { makeLfsRepo, pointerOf, verifyClone } from "./git-lfs-repo.ts";
import { startLfsOrigin } from "./lfs-origin.ts";
import { requiredTool } from "./required-tool.ts";
import { makeTempDir } from "./temp-dir.ts";

test.skipIf(requiredTool("git-lfs") === undefined)(
  "the real client gets every object from the origin bit for bit",
  async () => {
    await using dir = await makeTempDir("repo");
    await using origin = await startLfsOrigin();
    const repo = await makeLfsRepo({
      folder: dir.path,
      name: "models",
      origin,
      files: [
        { path: "weights/model.bin", sizeBytes: 2_000_000, seed: "model" },
        { path: "vocabulary.bin", sizeBytes: 100, seed: "vocabulary" },
      ],
    });
    const request = { repo, origin, route: { kind: "direct" }, home: dir.join("home") } as const;

    const cloned = await cloneWithLfs({ ...request, into: dir.join("clone") });
    expect([cloned.exitCode, cloned.stderr]).toEqual([0, ""]);
    expect(await verifyClone(repo, dir.join("clone"))).toEqual([]);

    const pulled = { ...request, into: dir.join("pulled") };
    await cloneWithoutLfs(pulled);
    const [model] = repo.files;
    expect(await readFile(dir.join("pulled", "weights/model.bin"), "utf8")).toBe(
      model === undefined ? "" : pointerOf(model),
    );
    expect(await verifyClone(repo, pulled.into)).toHaveLength(2);
    await pullLfs(pulled);
    expect(await verifyClone(repo, pulled.into)).toEqual([]);

    await appendFile(dir.join("pulled", "vocabulary.bin"), "x");
    expect((await verifyClone(repo, pulled.into)).map(({ path }) => path)).toEqual([
      "vocabulary.bin",
    ]);
  },
);

test.skipIf(requiredTool("git-lfs") === undefined)(
  "a clone fails when the object's bytes do not match its oid",
  async () => {
    await using dir = await makeTempDir("repo");
    await using origin = await startLfsOrigin();
    const files = [{ path: "a.bin", sizeBytes: 1_000, seed: "a" }];
    const repo = await makeLfsRepo({ folder: dir.path, name: "models", origin, files });
    await origin.setFaults("*", [{ kind: "flip_byte", offset: 10 }]);
    const result = await cloneWithLfs({
      repo,
      origin,
      route: { kind: "direct" },
      home: dir.join("home"),
      into: dir.join("clone"),
      gitConfig: [["lfs.transfer.maxretries", "1"]],
    });
    expect(result.exitCode).not.toBe(0);
  },
);
