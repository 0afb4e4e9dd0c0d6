import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import type { TaskStat } from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { describe, expect, test } from "vitest";
import { choosePeer } from "./peer-choice.ts";
import { listRow, matchDigits, pieceMap, statLines } from "./task-lines.ts";
import { trafficText } from "./traffic-text.ts";
import { formatAge, formatBytes, formatDuration, percentOf } from "@lacewing/runtime/figures.ts";

function bitmapOf(size: number, ...held: number[]): Uint8Array {
  const bitmap = new Bitmap(size);
  for (const index of held) bitmap.add(index);
  return bitmap.toBytes();
}

const task: TaskStat = {
  taskId: "ab".repeat(32),
  url: "https://lfs.test/objects/1?token=secret",
  anchor: "",
  lengthBytes: 10 * 2 ** 20,
  pieceLengthBytes: 2 ** 20,
  pieceCount: 10,
  heldPieceCount: 3,
  isVerified: false,
  incarnation: 1,
  createdAtMs: 0,
  usedAtMs: 0,
  bitmap: bitmapOf(10, 0, 1, 9),
  isPinned: false,
  isInUse: false,
};

describe("a piece map", () => {
  test("has a cell for each piece of a small task", () => {
    expect(pieceMap(task)).toBe("██·······█");
    expect(pieceMap({ pieceCount: 0, bitmap: new Uint8Array(0) })).toBe("");
  });

  test("gathers the pieces of a large task into 64 cells", () => {
    const map = pieceMap({ pieceCount: 256, bitmap: bitmapOf(256, 0, 1, 2, 3, 4) });
    expect(map).toBe(`█▒${"·".repeat(62)}`);
  });
});

describe("a task on the screen", () => {
  test("shows no query of its URL: it may carry a signature", () => {
    expect([...listRow(task, 0), statLines(task, 0)].join()).not.toContain("secret");
  });

  test("is a row of its essentials", () => {
    expect(listRow(task, 3 * 3_600_000)).toEqual([
      "abababababab",
      "10 MiB",
      "30 %",
      "no",
      "https://lfs.test/objects/1",
      "3 h ago",
    ]);
  });

  test("is found by the first digits of its id or digest when they are enough", () => {
    const other = { ...task, taskId: "ac".repeat(32), anchor: `sha256:${"d0".repeat(32)}` };
    expect(matchDigits([task, other], "abab")).toBe(task);
    expect(matchDigits([task, other], "d0d0")).toBe(other);
    expect(() => matchDigits([task, other], "a")).toThrow("more than one");
    expect(() => matchDigits([task, other], "ff")).toThrow("holds no task ff");
  });
});

describe("a host", () => {
  const peer = (hostId: string, kind: "normal" | "seed") => ({
    hostId,
    kind,
    proxyUrl: "http://127.0.0.1:1",
    apiSocket: `${hostId}.sock`,
    dataDir: hostId,
  });
  const peers = [peer("seed-1", "seed"), peer("peer-1", "normal"), peer("peer-2", "normal")];

  test("is the first ordinary one unless named", () => {
    expect(choosePeer(peers, undefined).hostId).toBe("peer-1");
    expect(choosePeer(peers, "seed-1").hostId).toBe("seed-1");
    expect(choosePeer(peers.slice(0, 1), undefined).hostId).toBe("seed-1");
  });

  test("that is not there is an error that names those that are", () => {
    expect(() => choosePeer(peers, "peer-9")).toThrow("the cluster has no host peer-9");
  });
});

describe("numbers for people", () => {
  test.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1536, "1.5 KiB"],
    [2 ** 30, "1 GiB"],
    [20 * 2 ** 30, "20 GiB"],
    [2 ** 54, "16384 TiB"],
  ])("%d bytes are %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  test.each([
    [85.4, "85 ms"],
    [8_120, "8.1 s"],
    [200_000, "3 min 20 s"],
    [7_500_000, "2 h 5 min"],
  ])("%d ms are %s", (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });

  test("an age is never negative, a share is whole only when all is there", () => {
    expect(formatAge(2_000_000, 0)).toBe("now");
    expect(formatAge(0, 3 * 86_400_000)).toBe("3 d ago");
    expect([0, 1, 999, 1000].map((part) => percentOf(part, 1000))).toEqual([0, 1, 99, 100]);
    expect(percentOf(0, 0)).toBe(100);
  });

  test("traffic names only where bytes came from", () => {
    const traffic = { localPeerBytes: 25, remotePeerBytes: 75, backToSourceBytes: 0 };
    expect(trafficText(traffic)).toBe("local 25 %, peers 75 %");
    expect(trafficText({ localPeerBytes: 0, remotePeerBytes: 0, backToSourceBytes: 0 })).toBe("");
  });
});
