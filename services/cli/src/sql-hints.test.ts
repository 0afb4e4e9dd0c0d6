import { expect, test } from "vitest";
import { hintFor, markPosition } from "./sql-hints.ts";

test("the caret stands under the character that the database names", () => {
  expect(markPosition("select * frm x", 10)).toBe("  select * frm x\n           ^ at character 10");
});

test("of a long query only the line with the error is shown", () => {
  expect(markPosition("select 1,\n  nope\nfrom x", 13)).toBe("    nope\n    ^ at character 13");
});

test("an unknown table gets a hint at how to list them, an unknown code none", () => {
  expect(hintFor("42P01")).toContain("information_schema.tables");
  expect(hintFor("XX000")).toBeUndefined();
});
