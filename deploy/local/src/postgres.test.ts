import { lstatSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { withoutPassword } from "./postgres.ts";
import { parsePostgresMajor, repairLibraryLinks } from "./postgres-binaries.ts";
import { isReachable } from "./postgres-home.ts";

const nobody = { uid: 65_534, gid: 65_534 };

function reachable(modes: Readonly<Record<string, number>>, path: string) {
  return isReachable(path, nobody, (each) => ({ mode: modes[each] ?? 0o755, uid: 0, gid: 0 }));
}

test("a program below a home that others may not enter is out of nobody's reach", () => {
  expect(reachable({ "/root": 0o700 }, "/root/checkout/bin/postgres")).toBe(false);
  expect(reachable({ "/root": 0o711 }, "/root/checkout/bin/postgres")).toBe(true);
  expect(reachable({ "/opt/bin/postgres": 0o750 }, "/opt/bin/postgres")).toBe(false);
});

test("a directory that belongs to the user is judged by the owner's bits", () => {
  const statOf = (path: string) =>
    path === "/d" ? { mode: 0o700, uid: nobody.uid, gid: 0 } : { mode: 0o755, uid: 0, gid: 0 };
  expect(isReachable("/d/file", nobody, statOf)).toBe(true);
});

test("the major version is read from what releases and Debian's build print", () => {
  expect(parsePostgresMajor("postgres (PostgreSQL) 18.4")).toBe(18);
  expect(parsePostgresMajor("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)")).toBe(15);
  expect(parsePostgresMajor("")).toBeUndefined();
});

test("a database URL is shown without its password, wherever that stands", () => {
  expect(withoutPassword("postgres://ada:pw@db:5432/x")).toBe("postgres://ada:***@db:5432/x");
  expect(withoutPassword("postgres://db/x?user=ada&password=pw")).not.toContain("pw");
  expect(withoutPassword("host=db password=pw")).not.toContain("pw");
});

test("missing library links are made once, relative, so that the tree can be moved", () => {
  const root = mkdtempSync(join(tmpdir(), "lacewing-links-"));
  const link = "native/lib/libicuuc.so.60";
  mkdirSync(join(root, "native/lib"), { recursive: true });
  writeFileSync(join(root, "native/lib/libicuuc.so.60.2"), "");
  writeFileSync(
    join(root, "native/pg-symlinks.json"),
    JSON.stringify([{ source: "native/lib/libicuuc.so.60.2", target: link }]),
  );
  repairLibraryLinks(root);
  repairLibraryLinks(root);
  expect(lstatSync(join(root, link)).isSymbolicLink()).toBe(true);
  expect(readlinkSync(join(root, link))).toBe("libicuuc.so.60.2");
  rmSync(root, { recursive: true });
});
