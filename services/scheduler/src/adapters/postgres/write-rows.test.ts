import { expect, test } from "vitest";
import { z } from "zod";
import { writeRows } from "./write-rows.ts";

const ROW_COUNT = 7_000;

test("while thousands of rows are made into text others have their turns", async () => {
  let turnCount = 0;
  let isDone = false;
  const others = () => {
    turnCount++;
    if (!isDone) setImmediate(others);
  };
  setImmediate(others);
  const turnsSeen: number[] = [];
  const written: number[] = [];
  const query = async (_statement: string, [text = ""]: string[] = []) => {
    written.push(...z.array(z.number()).parse(JSON.parse(text)));
  };
  const rows = {
    *[Symbol.iterator]() {
      for (let row = 0; row < ROW_COUNT; row++) {
        turnsSeen.push(turnCount);
        yield JSON.stringify(row);
      }
    },
  };

  await writeRows({ query }, { table: "peers", statement: "", rowCount: ROW_COUNT, rows });
  isDone = true;

  expect(written).toEqual(Array.from({ length: ROW_COUNT }, (_, row) => row));
  const longestTurn = Math.max(
    ...Map.groupBy(turnsSeen, (turn) => turn)
      .values()
      .map(({ length }) => length),
  );
  expect(longestTurn).toBeLessThanOrEqual(500);
});
