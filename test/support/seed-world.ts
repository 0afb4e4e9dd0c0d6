import { createHash, randomUUID } from "node:crypto";
import { once } from "node:events";
import { connect, createServer as createTcpServer } from "node:net";
import { DelegationDoor } from "@lacewing/peer/adapters/piece-transfer/delegation-door.ts";
import { Delegations } from "@lacewing/peer/app/delegations.ts";
import { ruleOf, type RuleSpec } from "@lacewing/peer/core/rules.ts";
import { systemClock } from "@lacewing/runtime/clock.ts";
import { listenAnywhere } from "./http-proxy-world.ts";
import { CLUSTER_SECRET, PARENT_HOST, startParent } from "./piece-hosts.ts";
import { PeerWorld } from "./peer-world.ts";
import { ScriptedOrigin } from "./scripted-origin.ts";

/** The seed host's id. */
export const SEED = PARENT_HOST;

/** Passes bytes on and keeps a copy of all of them. */
async function startTap(port: number) {
  const seen: Buffer[] = [];
  const server = createTcpServer((client) => {
    const onward = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [client, onward],
      [onward, client],
    ] as const) {
      from.on("error", () => to.destroy());
      from.on("data", (chunk: Buffer) => seen.push(chunk));
      from.pipe(to);
    }
  });
  const tapPort = await listenAnywhere(server);
  return {
    address: `127.0.0.1:${tapPort}`,
    text: () => Buffer.concat(seen).toString("latin1"),
    [Symbol.asyncDispose]: async () => {
      server.close();
      await once(server, "close");
    },
  };
}

/** A seed host that takes delegations at a real piece server, and reads an origin of the test. */
export async function startSeed(
  urlProblem: (url: URL) => string | undefined = () => undefined,
  rule: Partial<RuleSpec> = {},
) {
  const world = new PeerWorld({ isHurried: true });
  const origin = new ScriptedOrigin();
  const { registry, store, log } = world;
  const door = new DelegationDoor({
    hostId: SEED,
    clusterSecret: CLUSTER_SECRET,
    clock: systemClock,
    log,
  });
  const delegations = new Delegations({
    store,
    registry,
    origin,
    urlProblem,
    ruleFor: () => ruleOf({ regex: ".*", ...rule }),
    sha256: (text) => createHash("sha256").update(text).digest("hex"),
    clock: systemClock,
    log,
    newId: randomUUID,
  });
  door.open((delegation) => delegations.accept(delegation));
  const host = await startParent({ delegations: door, log });
  const port = Number(host.server.address.split(":")[1]);
  const tap = await startTap(port);
  return {
    world,
    origin,
    tap,
    address: tap.address,
    [Symbol.asyncDispose]: async () => {
      delegations.close();
      await host[Symbol.asyncDispose]();
      await tap[Symbol.asyncDispose]();
      await world.close();
    },
  };
}
