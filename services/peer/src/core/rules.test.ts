import { describe, expect, test } from "vitest";
import { DEFAULT_RULES, matchRule, regexProblem, ruleOf, rulesInOrder } from "./rules.ts";

const OID = "ab".repeat(32);
const match = (url: string) => matchRule(DEFAULT_RULES, new URL(url));

describe("default rules", () => {
  test.each([
    `https://github-cloud.githubusercontent.com/alambic/media/1/aa/bb/${OID}?X-Amz-Expires=1`,
    `https://lfs.example/org/repo/info/lfs/objects/${OID}`,
    `http://storage.example:8080/storage/ab/ab/${OID}`,
    `https://gitea.example/lfs/ab/ab/${"ab".repeat(30)}`,
    `https://registry.example/v2/library/debian/blobs/sha256:${OID}?ns=docker.io`,
    `https://registry.example/v2/a/b/c/blobs/sha256%3A${OID}`,
    `https://cdn.example/registry/docker/registry/v2/blobs/sha256/ab/${OID}/data`,
    "https://huggingface.co/org/model/resolve/main/model-00001.safetensors",
    "https://huggingface.co/datasets/org/set/resolve/main/a/b.parquet",
    "https://modelscope.cn/models/org/name/resolve/master/weights.bin",
  ])("want %s", (url) => {
    expect(match(url)).toBeDefined();
  });

  test.each([
    "https://github.com/org/repo.git/info/refs?service=git-upload-pack",
    "https://github.com/org/repo.git/info/lfs/objects/batch",
    "https://registry.example/v2/library/debian/manifests/latest",
    `https://registry.example/v2/library/debian/manifests/sha256:${OID}`,
    "https://huggingface.co/api/models/org/model/revision/main",
    `https://example.com/?file=/${OID}`,
    `https://example.com/${OID}00`,
  ])("leave %s alone", (url) => {
    expect(match(url)).toBeUndefined();
  });
});

test("the first rule whose regex matches decides, and the user's rules come before the built-in ones", () => {
  const rules = rulesInOrder([
    ruleOf({ regex: "^https://a\\.example/", tag: "first" }),
    ruleOf({ regex: "example/", tag: "second" }),
  ]);
  expect(matchRule(rules, new URL(`https://a.example/${OID}`))?.tag).toBe("first");
  expect(matchRule(rules, new URL(`https://b.example/${OID}`))?.tag).toBe("second");
  expect(matchRule(rules, new URL(`https://b.other/${OID}`))?.tag).toBe("");
});

test("a rule sees neither user info nor query nor the default port", () => {
  const rules = [ruleOf({ regex: "^https://a\\.example/file$" })];
  expect(matchRule(rules, new URL("https://me:pw@A.example:443/file?sig=1#x"))).toBeDefined();
});

test("a regex that does not compile is told with its error", () => {
  expect(regexProblem("(")).toMatch(/unterminated group/i);
  expect(regexProblem("a+")).toBeUndefined();
});
