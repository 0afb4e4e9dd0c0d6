import { TaskInfo } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { trace } from "@opentelemetry/api";
import {
  InMemorySpanExporter,
  SimpleSpanProcessor,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
// @boundaries-ignore tests share builders that no service ships
import { layoutOf, PeerWorld } from "../../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { CLUSTER_SECRET } from "../../../../../test/support/piece-hosts.ts";
// @boundaries-ignore tests share builders that no service ships
import { SEED, startSeed } from "../../../../../test/support/seed-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../../test/support/wait-for.ts";
import { DelegationOffers } from "../../app/delegation-offers.ts";
import { createDelegationClient } from "./delegation-client.ts";

const MIB = 2 ** 20;

const exporter = new InMemorySpanExporter();
beforeAll(() => {
  trace.setGlobalTracerProvider(
    new TracerProvider({ spanProcessors: [new SimpleSpanProcessor({ exporter })] }),
  );
});
afterAll(() => trace.disable());

/** A host whose client reads an origin, and which hands seed hosts what it takes. */
function readerWorld(): PeerWorld {
  const sender = createDelegationClient({ clusterSecret: CLUSTER_SECRET, clock: systemClock });
  const world: PeerWorld = new PeerWorld({
    delegate: (lease, task, request) =>
      new DelegationOffers({ sender, hostId: "host-a", log: world.log }).offer(
        lease,
        task,
        request,
      ),
  });
  return world;
}

/** Text that occurs nowhere by accident. */
const secretText = fc
  .array(fc.integer({ min: 0, max: 35 }), { minLength: 24, maxLength: 40 })
  .map((digits) => `zq${digits.map((digit) => digit.toString(36)).join("")}`);
const fieldName = fc.constantFrom(
  "X-Api-Key",
  "Private-Token",
  "X-Custom",
  "Ocp-Apim-Subscription-Key",
);
const parameter = fc.constantFrom("X-Amz-Signature", "token", "sig", "whatever");
const mishap = fc.constantFrom("none", "refused", "unreachable", "broken_off", "changed");

test("no secret of a delegated read gets into a message, a log line, a span, a fact, a description, or onto the wire in plain", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        query: secretText,
        authorization: secretText,
        cookie: secretText,
        field: secretText,
      }),
      fieldName,
      parameter,
      mishap,
      async (secrets, name, param, trouble) => {
        exporter.reset();
        const content = Buffer.alloc(8 * MIB, secrets.query);
        await using seed = await startSeed(undefined, { filteredQueryParams: [param] });
        const reader = readerWorld();
        reader.origin.add("/file", content, { etag: '"v1"' });
        seed.origin.add("/file", content, {
          etag: trouble === "changed" ? '"v2"' : '"v1"',
          ...(trouble === "refused" ? { status: 403 } : {}),
          ...(trouble === "unreachable" ? { isDown: true } : {}),
          ...(trouble === "broken_off" ? { breaksAfterBytes: MIB + 5 } : {}),
        });
        reader.onRequest(({ taskId, requestId }) => {
          const delegateTo = { hostId: SEED, transferAddress: seed.address };
          reader.grant({ leaseId: "0-1-1", taskId, requestId, open: true, delegateTo });
        });
        const headers = [
          ["Authorization", `Bearer ${secrets.authorization}`],
          ["Cookie", `session=${secrets.cookie}`],
          [name, secrets.field],
        ] as const;
        await reader.get(`http://origin.test/file?${param}=${secrets.query}`, headers, {
          filteredQueryParams: [param],
        });
        const requests = () => seed.world.controlPlane.all("taskRequested");
        await waitFor("the seed host's request", () => requests().length > 0);
        const [request] = requests();
        const { taskId = "", requestId = "" } = request ?? {};
        const task = TaskInfo.fromPartial({
          url: request?.url ?? "",
          sharingDomain: "origin.test",
          etag: '"v1"',
        });
        seed.world.grant({
          leaseId: "0-1-2",
          taskId,
          requestId,
          pieces: [{ start: 0, count: 8 }],
          ...layoutOf(content),
          task,
        });
        const { controlPlane } = seed.world;
        await waitFor(
          "the read",
          () =>
            controlPlane.all("piecesFailed").length > 0 ||
            [...seed.world.store.list()].some(({ held }) => held.isFull),
        );
        // It was read with the client's own means, or there would be nothing to find.
        const read = JSON.stringify(
          seed.origin.requests.map(({ url, headers: sent }) => [url.href, sent]),
        );
        for (const secret of Object.values(secrets)) expect(read).toContain(secret);

        const worlds = [reader, seed.world];
        const said = JSON.stringify([
          worlds.map((world) => [world.controlPlane.messages, world.controlPlane.tries]),
          worlds.map((world) => [
            world.log.entries,
            [...world.journal.facts.values()],
            [...world.journal.begun],
          ]),
          worlds.map((world) => [...world.store.list()].map(({ description }) => description)),
          exporter
            .getFinishedSpans()
            .map(({ name: span, attributes, events, status }) => [
              span,
              attributes,
              events,
              status,
            ]),
          seed.tap.text(),
        ]);
        expect(said).toContain("delegation_taken");
        expect(said).toContain("/v1/delegations");
        for (const secret of Object.values(secrets)) expect(said).not.toContain(secret);
        await reader.close();
      },
    ),
    { numRuns: 10 },
  );
}, 60_000);
