import { expect, test } from "vitest";
import { planPeers, socketDirectory } from "./services.ts";

test("ordinary peers come first, then seeds, each with its own port and place", () => {
  const peers = planPeers({ peers: 2, seedPeers: 1 }, "/d", "/d/run", {
    "peer-1": 65_001,
    "peer-2": 65_002,
    "seed-1": 65_003,
  });
  expect(peers.map(({ hostId, kind, proxyPort }) => [hostId, kind, proxyPort])).toEqual([
    ["peer-1", "normal", 65_001],
    ["peer-2", "normal", 65_002],
    ["seed-1", "seed", 65_003],
  ]);
  expect(new Set(peers.map(({ dataDir }) => dataDir)).size).toBe(3);
});

test("sockets stay in the data dir unless a path there would be longer than the system can bind", () => {
  expect(socketDirectory("/d", ["peer-1"], "/run/user/1")).toBe("/d/run");
  const long = `/${"x".repeat(100)}`;
  expect(socketDirectory(long, ["peer-1"], "/run/user/1")).toMatch(
    /^\/run\/user\/1\/lacewing-[0-9a-f]{8}$/,
  );
  // Two data dirs never share sockets.
  expect(socketDirectory(long, ["peer-1"], "/r")).not.toBe(
    socketDirectory(`${long}y`, ["a"], "/r"),
  );
});
