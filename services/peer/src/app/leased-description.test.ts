import { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { describe, expect, test, vi } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { MemoryPieceStore } from "../../../../test/support/memory-piece-store.ts";
// @boundaries-ignore tests share builders that no service ships
import { aTask } from "../../../../test/support/task-builders.ts";
import { createAsCut } from "./leased-description.ts";
import type { StoredTask, StoreRefusal } from "./ports.ts";

const MIB = 2 ** 20;
const LENGTH_BYTES = 9 * MIB;
const description = aTask("cut", LENGTH_BYTES, { pieceLengthBytes: 2 * MIB });
const otherLength = aTask("cut", LENGTH_BYTES + 1, { pieceLengthBytes: 4 * MIB });

/** The place that is made for a request for which this lease waits. */
async function created(store: MemoryPieceStore, lease: Lease | undefined, isDownloading = false) {
  const registry = { parked: () => lease, isDownloading: () => isDownloading };
  return createAsCut({ store, registry }, description, "request-1");
}

function pieceLengthOfPlace(place: StoredTask | StoreRefusal): number | StoreRefusal {
  return typeof place === "string" ? place : place.layout.pieceLengthBytes;
}

describe("content is stored in pieces", () => {
  test.each([
    ["of the rule when nobody has cut it", Lease.fromPartial({}), 2],
    [
      "as the lease says",
      Lease.fromPartial({ lengthBytes: LENGTH_BYTES, pieceLengthBytes: 4 * MIB }),
      4,
    ],
    [
      "of the rule when the lease opens it",
      Lease.fromPartial({ open: true, lengthBytes: LENGTH_BYTES, pieceLengthBytes: 4 * MIB }),
      2,
    ],
    [
      "of the rule when the lease is for another length",
      Lease.fromPartial({ lengthBytes: LENGTH_BYTES + 1, pieceLengthBytes: 4 * MIB }),
      2,
    ],
    [
      "of the rule when the lease's cannot be",
      Lease.fromPartial({ lengthBytes: LENGTH_BYTES, pieceLengthBytes: 3 * MIB }),
      2,
    ],
    [
      "of the rule when no version of it can have cut it like the lease",
      Lease.fromPartial({ lengthBytes: LENGTH_BYTES, pieceLengthBytes: 16 * MIB }),
      2,
    ],
    ["of the rule without a lease", undefined, 2],
  ])("%s", async (_when, lease, mib) => {
    const place = await created(new MemoryPieceStore(), lease);

    expect(pieceLengthOfPlace(place)).toBe(mib * MIB);
  });

  test.each([
    ["as the lease says when what is held is no copy yet", false, false, 4],
    ["as they are held when all of it was verified", true, false, 1],
    ["as they are held while it is downloaded", false, true, 1],
  ])("%s", async (_when, isVerified, isDownloading, mib) => {
    const store = new MemoryPieceStore();
    const held = await store.create({ ...description, pieceLengthBytes: MIB });
    if (typeof held === "string") throw new TypeError(held);
    vi.spyOn(held, "isVerified", "get").mockReturnValue(isVerified);
    const create = vi.spyOn(store, "create");
    const lease = Lease.fromPartial({ lengthBytes: LENGTH_BYTES, pieceLengthBytes: 4 * MIB });
    await created(store, lease, isDownloading);

    expect(create).toHaveBeenCalledWith({ ...description, pieceLengthBytes: mib * MIB });
  });

  test("as they are held without a lease", async () => {
    const store = new MemoryPieceStore();
    const held = await store.create({ ...description, pieceLengthBytes: 8 * MIB });

    expect(await created(store, undefined)).toBe(held);
  });

  test("of the rule when what is held is of another length", async () => {
    const store = new MemoryPieceStore();
    await store.create(otherLength);
    const create = vi.spyOn(store, "create");
    await created(store, undefined);

    expect(create).toHaveBeenCalledWith(description);
  });
});
