import { expect, test } from "vitest";
import { kindsOf, MIB, SchedulerWorld, TASK } from "../support/scheduler-world.ts";

/** Of hosts that relay the stream is not shared: they get all of it from the host that reads it. */
const NO_RELAY = { uploadSlots: 1 };

test("a long stream from the origin is shared when many wait: its host keeps the next piece, the others read a part each", () => {
  const world = new SchedulerWorld();
  const hostIds = ["a", "b", "c", "d", "e"];
  for (const hostId of hostIds) {
    world.announce(hostId, NO_RELAY);
    world.request(hostId);
  }
  world.decide();
  const layout = { lengthBytes: 16 * 16 * MIB, pieceLengthBytes: 16 * MIB };
  world.describe("a", { ...layout, originRanges: true });

  world.decide();
  spreadFirstPiece(world, "a");
  const answers = world.decide();
  world.hold("a", [0, 1]);
  world.decide();

  expect(answers.filter(({ kind }) => kind === "lease_end")).toMatchObject([
    { hostId: "a", reason: "shared" },
  ]);
  const fromOrigin = world.grants.filter(({ parentHostId }) => parentHostId === "").slice(1);
  expect(fromOrigin[0]).toMatchObject({ childHostId: "a", pieces: [{ start: 1, count: 4 }] });
  expect(fromOrigin[1]).toMatchObject({ pieces: [{ start: 5, count: 1 }] });
});

test.each([
  ["the origin has no ranges", { originRanges: false, pieces: 16 }, 5],
  ["it is short", { originRanges: true, pieces: 7 }, 5],
  ["few wait", { originRanges: true, pieces: 16 }, 3],
])("a stream from the origin goes on when %s", (_why, { originRanges, pieces }, hostCount) => {
  const world = new SchedulerWorld();
  for (let number = 0; number < hostCount; number++) {
    world.announce(`host-${number}`, NO_RELAY);
    world.request(`host-${number}`);
  }
  world.decide();
  const [open] = world.grants;
  const layout = { lengthBytes: pieces * 16 * MIB, pieceLengthBytes: 16 * MIB };
  world.describe(open?.childHostId ?? "", { ...layout, originRanges });

  world.decide();
  spreadFirstPiece(world, open?.childHostId ?? "");
  const answers = world.decide();

  expect(kindsOf(answers).filter((kind) => kind.startsWith("lease_end"))).toEqual([]);
  expect(world.grants.filter(({ parentHostId }) => parentHostId === "")).toHaveLength(1);
});

/** The first piece is at its reader, and has gone to another host: now it is known how fast that is, and that grants come soon. */
function spreadFirstPiece(world: SchedulerWorld, reader: string): void {
  world.hold(reader, [0]);
  world.decide();
  const lease = world.grants.find(({ parentHostId }) => parentHostId === reader);
  const { leaseId = "", childHostId = "" } = lease ?? {};
  world.advance(140);
  world.tell(childHostId, {
    $case: "piecesAvailable",
    value: {
      taskId: TASK,
      incarnation: 1,
      bitmap: Uint8Array.of(1),
      digests: [],
      leasesEnded: [{ leaseId, bytes: 16 * MIB, durationMs: 134 }],
    },
  });
}
