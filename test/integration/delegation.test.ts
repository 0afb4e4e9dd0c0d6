import type { SeedHost } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { Secret } from "@lacewing/observability/secret.ts";
import { createDelegationClient } from "@lacewing/peer/adapters/piece-transfer/delegation-client.ts";
import { DELEGATION_BYTES_MAX } from "@lacewing/peer/adapters/piece-transfer/delegation-codec.ts";
import { seal } from "@lacewing/peer/adapters/piece-transfer/delegation-seal.ts";
import type { Delegation } from "@lacewing/peer/app/delegations.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { expect, test } from "vitest";
import { CLUSTER_SECRET, startParent } from "../support/piece-hosts.ts";
import { SEED, startSeed } from "../support/seed-world.ts";

const TASK_ID = parseTaskId("ab".repeat(32));
if (TASK_ID === undefined) throw new Error("no task id");
const aDelegation: Delegation = {
  taskId: TASK_ID,
  fromHostId: "reader",
  means: { url: new URL("https://o.test/a?s=1"), headers: [["Cookie", "a=b"]], useTls: true },
  etag: '"v"',
  shown: {
    url: "https://o.test/a",
    sharingDomain: "o.test",
    anchor: "",
    tag: "",
    application: "",
    priority: 3,
  },
};

test("a delegation reaches the seed host as it was given, by the verdict of that host", async () => {
  const denied: URL[] = [];
  await using seed = await startSeed((url) => {
    denied.push(url);
    return "not there";
  });
  const to: SeedHost = { hostId: SEED, transferAddress: seed.address };
  const client = createDelegationClient({ clusterSecret: CLUSTER_SECRET, clock: systemClock });
  await expect(client.send(to, aDelegation)).rejects.toThrow("status 403");
  expect(denied.map(({ href }) => href)).toEqual(["https://o.test/a?s=1"]);
});

test("whoever is not of the cluster, sends too much, or what is no delegation, is refused", async () => {
  await using seed = await startSeed();
  await using plain = await startParent();
  const to: SeedHost = { hostId: SEED, transferAddress: seed.address };
  const send = async (secret: Secret, target = to, delegation = aDelegation) =>
    createDelegationClient({ clusterSecret: secret, clock: systemClock }).send(target, delegation);
  await expect(send(new Secret("another cluster's secret"))).rejects.toThrow("status 401");
  await expect(send(CLUSTER_SECRET, { ...to, hostId: "other" })).rejects.toThrow("status 401");
  await expect(
    send(CLUSTER_SECRET, { ...to, transferAddress: plain.server.address }),
  ).rejects.toThrow("status 405");
  const inside = { ...aDelegation.means, url: new URL("ftp://o.test/a") };
  await expect(send(CLUSTER_SECRET, to, { ...aDelegation, means: inside })).rejects.toThrow(
    "status 400",
  );
  const broken = { ...aDelegation.means, headers: [["X", "a\r\nHost: b"]] as const };
  await expect(send(CLUSTER_SECRET, to, { ...aDelegation, means: broken })).rejects.toThrow(
    "status 400",
  );
  const long = {
    ...aDelegation.means,
    headers: [["X", "a".repeat(DELEGATION_BYTES_MAX)]] as const,
  };
  await expect(send(CLUSTER_SECRET, to, { ...aDelegation, means: long })).rejects.toThrow(
    "too long",
  );
  const post = async (body: Uint8Array) =>
    (
      await fetch(`http://${seed.address}/v1/delegations`, {
        method: "POST",
        body: Uint8Array.from(body),
      })
    ).status;
  expect(await post(new Uint8Array(DELEGATION_BYTES_MAX + 1))).toBe(413);
  expect(await post(seal(CLUSTER_SECRET, SEED, Buffer.from("nonsense")))).toBe(400);
  expect(seed.world.controlPlane.all("taskRequested")).toEqual([]);
});
