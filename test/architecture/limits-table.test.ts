import { expect, test } from "vitest";
import { limitsIn, limitsTable } from "./limits-table.ts";
import { withGenerated } from "./markdown.ts";

const SOURCE = `
/** Longer answers are cut. */
export const ANSWER_BYTES_MAX = 64 * 2 ** 20;

/** Waits double from the first
 * to the {@link second}. */
const RETRY_MS_MIN = 1_000;
const RETRY_MS_MAX = 30_000;

const BARE_COUNT_MAX = OTHER_COUNT * 2;
/** No limit. */
const HOUR_MS = 3_600_000;
/** No number. */
const NAMES_MAX = ["a"];
  const INSIDE_MAX = 3;
`;

test("a limit is a named number with its comment; one directly below another shares it", () => {
  const limits = limitsIn("services/x/src/a.ts", SOURCE);
  expect(limits.map(({ name, value, reason }) => [name, value, reason])).toEqual([
    ["ANSWER_BYTES_MAX", "64 * 2 ** 20", "Longer answers are cut."],
    ["RETRY_MS_MIN", "1_000", "Waits double from the first to the {@link second}."],
    ["RETRY_MS_MAX", "30_000", "Waits double from the first to the {@link second}."],
    ["BARE_COUNT_MAX", "OTHER_COUNT * 2", ""],
  ]);
});

test("a table links each limit to its file, from where the README stands", () => {
  const limit = {
    name: "A_MAX",
    value: "1",
    reason: "See {@link b}: a|b.",
    file: "services/x/src/a.ts",
  };
  expect(limitsTable([limit], "services/x").split("\n").at(-1)).toBe(
    "| `A_MAX` | `1` | See `b`: a\\|b. | [a.ts](src/a.ts) |",
  );
});

test("only what stands between the markers is replaced", () => {
  const text = "a\n<!-- t:begin -->\nold\n<!-- t:end -->\nb";
  expect(withGenerated(text, "t", "new")).toBe("a\n<!-- t:begin -->\nnew\n<!-- t:end -->\nb");
  expect(withGenerated(text, "u", "new")).toBeUndefined();
});
