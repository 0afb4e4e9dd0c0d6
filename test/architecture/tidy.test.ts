import { existsSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { generatedReadmes } from "./generated-docs.ts";
import { limitsIn } from "./limits-table.ts";
import { SETTINGS_OF, undescribed } from "./settings-table.ts";
import { ROOT, sourceFiles, textOf } from "./source-files.ts";

/** What a reader holds in his head at once. */
const FILE_LINES_MAX = 400;

const files = sourceFiles();
const isGenerated = (path: string): boolean => path.includes("/gen/");
const written = files.filter((path) => !isGenerated(path));
const typescript = written.filter((path) => path.endsWith(".ts"));
const code = written.filter((path) => /\.(?:ts|mjs)$/.test(path));
const texts = written.filter((path) => /\.(?:ts|mjs|md|json|ya?ml|proto|sql|toml|sh)$/.test(path));
const documents = files.filter((path) => path.endsWith(".md"));

/** `path:line: text` of every line that `pattern` matches. */
function linesWith(pattern: RegExp, paths: readonly string[]): readonly string[] {
  return paths
    .filter((path) => path !== "package-lock.json")
    .flatMap((path) =>
      textOf(path)
        .split("\n")
        .map((line, index) => ({ line, at: `${path}:${index + 1}` }))
        .filter(({ line }) => pattern.test(line))
        .map(({ line, at }) => `${at}: ${line.trim().slice(0, 120)}`),
    );
}

describe("a source file", () => {
  test(`is shorter than ${FILE_LINES_MAX} lines: a longer one holds two ideas`, () => {
    const long = typescript
      .map((path) => ({ path, lines: textOf(path).trimEnd().split("\n").length }))
      .filter(({ lines }) => lines >= FILE_LINES_MAX);
    expect(long).toEqual([]);
  });

  test("is named for what it holds: no index.ts, kebab-case", () => {
    const name = /^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.(?:test|bench|config))?\.(?:ts|mjs)$/;
    const strange = code.filter(
      (path) => basename(path) === "index.ts" || !name.test(basename(path)),
    );
    expect(strange).toEqual([]);
  });

  test("leaves nothing for later", () => {
    expect(linesWith(/\b(?:TO[D]O|FIX[M]E)\b|[Nn]ot (?:yet )?implemente[d]/, texts)).toEqual([]);
  });

  test("knows no path of the machine it was written on", () => {
    const before = String.raw`(?<![\w.})*$-])`;
    const sources = texts.filter((path) => !path.endsWith(".test.ts"));
    const homes = new RegExp(String.raw`${before}\/(?:home|Users|root|work|builds)\/[\w.-]+`);
    expect(linesWith(homes, sources)).toEqual([]);
    const root = ROOT.replace(/\/$/, "").replaceAll(/[.*+?^${}()|[\]\\]/g, String.raw`\$&`);
    const checkout = new RegExp(String.raw`${before}${root}\b`);
    expect(linesWith(checkout, texts)).toEqual([]);
  });

  test("of tests leaves none out and runs none alone", () => {
    const tests = typescript.filter((path) => /\.(?:test|bench)\.ts$|^test\//.test(path));
    expect(
      linesWith(/\b(?:test|it|describe|suite)(?:\.\w+)*\.(?:skip|only|todo)\b/, tests),
    ).toEqual([]);
  });
});

test("the lock file names no registry", () => {
  expect(textOf("package-lock.json")).not.toMatch(/"resolved": "https?:/);
});

describe("a service", () => {
  const services = [...new Set(files.map((path) => /^services\/[^/]+/.exec(path)?.[0] ?? ""))];

  test("has a README", () => {
    const bare = services.filter((path) => path !== "" && !files.includes(`${path}/README.md`));
    expect(bare).toEqual([]);
  });

  test.each(Object.entries(SETTINGS_OF))(
    "%s says what each of its settings means",
    (_name, schema) => {
      expect(undescribed(schema)).toEqual([]);
    },
  );

  test("gives every limit its reason", () => {
    const sources = typescript.filter(
      (path) => /^services\/[^/]+\/src\//.test(path) && !path.endsWith(".test.ts"),
    );
    const bare = sources
      .flatMap((path) => limitsIn(path, textOf(path)))
      .filter(({ reason }) => reason === "")
      .map(({ file, name }) => `${file}: ${name}`);
    expect(bare).toEqual([]);
  });
});

describe("a README", () => {
  test.each(generatedReadmes(files))(
    "$path has the tables its code gives it: `npm run docs`",
    (readme) => {
      expect(readme.missingMarkers).toEqual([]);
      expect(readme.after).toBe(readme.before);
    },
  );
});

describe("a link in a document", () => {
  test.each(documents)("%s leads to a file that is there", (document) => {
    const prose = textOf(document).replaceAll(/^```[\s\S]*?^```/gm, "");
    const targets = [...prose.matchAll(/\]\((?<target>[^)\s]+)\)/g)].map(
      ({ groups }) => groups?.["target"] ?? "",
    );
    const dead = targets
      .filter((target) => !/^(?:[a-z]+:|#)/.test(target))
      .filter((target) => !existsSync(join(ROOT, dirname(document), target.replace(/#.*/, ""))));
    expect(dead).toEqual([]);
  });
});
