import { hash } from "node:crypto";
import { taskIdOf } from "@lacewing/contracts/ids.ts";
import { expect, test } from "vitest";
import { QUERIES_TRIED_MAX } from "./limits.ts";
import type { TaskFacts } from "./ports.ts";
import { chooseTask } from "./url-choice.ts";

const PATH = "https://origin.example/f";
const DIGEST = `sha256:${"a".repeat(64)}`;
const SIGNATURE = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires=60&X-Amz-Signature=00";

/** As a host names it: by its URL with this query, of which only the path is stored. */
function had(query: string, etag = '"v1"'): TaskFacts {
  const taskId = taskIdOf("origin.example", ["url", `${PATH}${query}`, etag], (text) =>
    hash("sha256", text),
  );
  return task({ taskId, etag });
}

function anchored(digit: string): TaskFacts {
  return task({ taskId: digit.repeat(64), anchor: DIGEST });
}

function task(value: Partial<TaskFacts>): TaskFacts {
  return {
    taskId: "",
    slice: 0,
    url: PATH,
    sharingDomain: "origin.example",
    anchor: "",
    tag: "",
    application: "",
    priority: 0,
    lengthBytes: 1,
    pieceLengthBytes: 1,
    etag: '"v1"',
    contentType: "",
    state: "active",
    retiredReason: "",
    createdAtMs: 0,
    ...value,
  };
}

function choice(query: string, ...tasks: readonly TaskFacts[]) {
  const told = chooseTask(new URL(`${PATH}${query}`), tasks);
  if (told.kind === "chosen") return [told.task.taskId, ...told.notes];
  return told.kind === "none" ? "none" : told.tasks.map(({ taskId }) => taskId);
}

const one = had("?versionId=1");
const two = had("?versionId=2");
const plain = had("");

test("a query that names content finds its own, and never another's", () => {
  expect(choice("?versionId=1", two, one)).toEqual([one.taskId]);
  expect(choice(`?${SIGNATURE}&versionId=1`, two, one)).toEqual([one.taskId]);
  expect(choice("?versionId=3", two, one)).toBe("none");
  expect(choice("?versionId=3", one)).toBe("none");
});

test("of the contents of one query the newest is told, and the older ones are named", () => {
  const changed = had("?versionId=1", '"v2"');
  expect(choice("?versionId=1", changed, two, one)).toEqual([
    changed.taskId,
    `the newest content of this URL; older: ${one.taskId}`,
  ]);
});

test("a parameter that a host's rule leaves out does not hide the content, and is named without its value", () => {
  expect(choice("?versionId=1&session=secret", two, one, plain)).toEqual([
    one.taskId,
    "found without the query's session",
  ]);
  expect(choice("?session=secret", plain, one)).toEqual([
    plain.taskId,
    "only the path matched, of 2 contents: it was had without this query",
  ]);
});

test("a URL with or without a signature finds what was had without another query", () => {
  for (const query of ["", `?${SIGNATURE}`]) {
    expect(choice(query, plain)).toEqual([plain.taskId]);
    expect(choice(query, two, plain)).toEqual([
      plain.taskId,
      `under the same path with a query: ${two.taskId}`,
    ]);
  }
});

test("a path as lists show it finds what was had under it with any query, and says so", () => {
  expect(choice("", one)).toEqual([
    one.taskId,
    "only the path matched, of 1 content: the query that it was had under is not kept",
  ]);
  expect(choice("", two, one)).toEqual([
    two.taskId,
    `the newest content of this URL; older: ${one.taskId}`,
    "only the path matched, of 2 contents: the query that it was had under is not kept",
  ]);
});

test("content that is named by its digest is found by its path, which the answer says where a query was asked for", () => {
  const a = anchored("a");
  const pathNote =
    "only the path matched, of 1 content: the query that it was had under is not kept";
  expect(choice("", a)).toEqual([a.taskId]);
  expect(choice(`?${SIGNATURE}`, a)).toEqual([a.taskId, pathNote]);
  expect(choice("?versionId=1", a)).toEqual([a.taskId, pathNote]);
  expect(choice("?versionId=1", a, one)).toEqual([one.taskId]);
});

test("a query that may be that of several contents decides for none of them", () => {
  expect(choice("?versionId=1", anchored("b"), anchored("a"))).toEqual([
    "b".repeat(64),
    "a".repeat(64),
  ]);
});

test("a stored query is taken at its word", () => {
  const stored = task({ taskId: "c".repeat(64), url: `${PATH}?versionId=1` });
  expect(choice("?versionId=1", stored)).toEqual([stored.taskId]);
  expect(choice("?versionId=2", stored)).toBe("none");
});

test("of a query with very many parameters only the whole is tried, and nothing is said to be another's", () => {
  const many = Array.from({ length: Math.log2(QUERIES_TRIED_MAX) + 1 }, (_, index) => `p${index}`);
  const whole = had(`?${many.toSorted().join("&")}`);
  expect(choice(`?${many.join("&")}`, whole)).toEqual([whole.taskId]);
  expect(choice(`?${many.join("&")}`, one)).toEqual([
    one.taskId,
    "only the path matched, of 1 content: the query that it was had under is not kept",
  ]);
});
