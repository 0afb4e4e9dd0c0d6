import { expect, test } from "vitest";
import { renderTable } from "./table.ts";

test("columns are as wide as their widest cell, numbers stand under each other", () => {
  const table = renderTable(
    [
      { title: "scenario", align: "left" },
      { title: "s", align: "right" },
    ],
    [
      ["direct", "43.58"],
      ["hit local peer", "6.49"],
    ],
  );
  expect(table.split("\n")).toEqual([
    "scenario            s",
    "──────────────  ─────",
    "direct          43.58",
    "hit local peer   6.49",
  ]);
});
