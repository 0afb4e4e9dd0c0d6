// Fails when contracts/src/gen differs from what the protos generate. Generates into a temporary folder, changes nothing.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const dir = mkdtempSync(join(tmpdir(), "lacewing-gen-"));
try {
  const template = join(dir, "buf.gen.yaml");
  writeFileSync(
    template,
    readFileSync("buf.gen.yaml", "utf8").replace("out: src/gen", `out: ${join(dir, "gen")}`),
  );
  execFileSync("buf", ["generate", "--template", template], { stdio: "inherit" });
  execFileSync("diff", ["-r", "src/gen", join(dir, "gen")], { stdio: "inherit" });
} catch {
  process.stderr.write(
    "contracts/src/gen is stale: run `npm run generate` and commit the result.\n",
  );
  process.exitCode = 1;
} finally {
  rmSync(dir, { recursive: true });
}
