import { createHash, randomUUID } from "node:crypto";
import { TaskInfo } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { taskIdOf } from "@lacewing/contracts/ids.ts";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { systemClock } from "@lacewing/runtime/clock.ts";
// @boundaries-ignore tests share builders that no service ships
import { bytesOf, seededContent } from "../../../../test/support/content.ts";
// @boundaries-ignore tests share builders that no service ships
import { layoutOf, PeerWorld } from "../../../../test/support/peer-world.ts";
// @boundaries-ignore tests share builders that no service ships
import { ScriptedOrigin } from "../../../../test/support/scripted-origin.ts";
// @boundaries-ignore tests share builders that no service ships
import { waitFor } from "../../../../test/support/wait-for.ts";
import { ruleOf } from "../core/rules.ts";
import { DELEGATION_MS, Delegations, type ReceivedDelegation } from "./delegations.ts";

const MIB = 2 ** 20;
const WALL_MS = 1_800_000_000_000;

let world: PeerWorld;
let origin: ScriptedOrigin;
let delegations: Delegations;
let denial: string | undefined;
let content: Buffer;
const time = { ms: 0 };
beforeEach(async () => {
  world = new PeerWorld();
  origin = new ScriptedOrigin();
  denial = undefined;
  time.ms = 0;
  content = await bytesOf(seededContent("delegated", 3 * MIB));
  origin.add("/file", content, { etag: '"v1"' });
  delegations = new Delegations({
    store: world.store,
    registry: world.registry,
    origin,
    urlProblem: () => denial,
    ruleFor: () => ruleOf({ regex: ".*", filteredQueryParams: ["signature"] }),
    sha256,
    clock: { ...systemClock, monotonic: () => time.ms, now: () => WALL_MS + time.ms },
    log: world.log,
    newId: randomUUID,
  });
});
afterEach(async () => {
  delegations.close();
  vi.useRealTimers();
  await world.close();
});

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function delegationOf(path = "/file"): ReceivedDelegation {
  return {
    taskId: taskIdOf("origin.test", ["url", `https://origin.test${path}`, '"v1"'], sha256),
    fromHostId: "reader",
    expiresAtMs: WALL_MS + DELEGATION_MS,
    means: {
      url: new URL(`https://origin.test${path}?signature=s3cret`),
      headers: [["Authorization", "Bearer s3cret"]],
      useTls: "auto",
    },
    etag: '"v1"',
    shown: {
      url: "https://origin.test/file",
      sharingDomain: "origin.test",
      anchor: "",
      tag: "t",
      application: "a",
      priority: 3,
    },
  };
}

const asked = () => world.controlPlane.all("taskRequested");
const ended = () => world.controlPlane.all("requestEnded");

describe("a delegation", () => {
  test("whose path is written in another way than its URL has it is of the content that such a path names", () => {
    const of = (path: string | undefined): ReceivedDelegation => {
      const delegation = delegationOf();
      return { ...delegation, means: { ...delegation.means, path } };
    };
    expect(delegations.accept(of("/./file?signature=s3cret"))).toBe("denied");
    expect(delegations.accept(of("/file?signature='1'"))).toBe("taken");
  });

  test("becomes a request that may read the origin, and what is granted for it is read with its means", async () => {
    const { taskId } = delegationOf();
    expect(delegations.accept(delegationOf())).toBe("taken");
    await waitFor("the request", () => asked().length === 1);
    const [request] = asked();
    expect(request).toMatchObject({ taskId, canReadOrigin: true, originOpen: false, tag: "t" });
    const { lengthBytes, pieceLengthBytes } = layoutOf(content);
    world.grant({
      leaseId: "0-1-1",
      taskId,
      requestId: request?.requestId ?? "",
      pieces: [{ start: 1, count: 2 }],
      lengthBytes,
      pieceLengthBytes,
      task: TaskInfo.fromPartial({ sharingDomain: "origin.test", etag: '"v1"' }),
    });
    await waitFor("the pieces", () => world.store.get(taskId)?.held.count === 2);
    expect(origin.requests).toMatchObject([
      { headers: [["Authorization", "Bearer s3cret"]], range: { start: MIB, end: 3 * MIB } },
    ]);
    expect(origin.requests[0]?.url.search).toBe("?signature=s3cret");
    expect(ended()).toEqual([]);
    world.grant({
      leaseId: "0-1-2",
      taskId,
      requestId: request?.requestId ?? "",
      pieces: [{ start: 0, count: 1 }],
      lengthBytes,
      pieceLengthBytes,
    });
    // Everything is here: nobody needs the credentials any more.
    await waitFor("the end of the request", () => ended().length === 1);
    expect(delegations.accept(delegationOf())).toBe("not_needed");
  });

  test("ends when its time is over", async () => {
    delegations.accept(delegationOf());
    expect(delegations.accept(delegationOf())).toBe("known");
    await waitFor("the request", () => asked().length === 1);
    time.ms = DELEGATION_MS;
    await waitFor("the end of the request", () => ended().length === 1);
  });

  test("is not renewed by being sent again, and is held no longer than its sender said", async () => {
    const delegation = delegationOf();
    time.ms = DELEGATION_MS - 1;
    expect(delegations.accept(delegation)).toBe("taken");
    await waitFor("the request", () => asked().length === 1);
    time.ms = DELEGATION_MS;
    await waitFor("the end of the request", () => ended().length === 1);
  });

  test("that leads where a remote host must not have us go is denied, and nothing is asked", () => {
    denial = "10.0.0.1 is not read for other hosts";
    expect(delegations.accept(delegationOf())).toBe("denied");
    expect([...world.registry.liveRequests()]).toEqual([]);
  });

  test("that names other content than its URL has is denied: nobody has it read from an origin of his choice", () => {
    const own = delegationOf();
    const { taskId } = delegationOf("/other");
    const anchor = `sha256:${"ab".repeat(32)}`;
    const anchored = (domain: string) => ({
      ...own,
      taskId: taskIdOf(domain, ["anchor", anchor], sha256),
      shown: { ...own.shown, anchor, sharingDomain: domain },
    });
    for (const lie of [
      { ...own, taskId },
      { ...own, etag: '"v2"' },
      { ...own, etag: "" },
      { ...own, shown: { ...own.shown, sharingDomain: "other.test" } },
      anchored("other.test"),
    ])
      expect(delegations.accept(lie)).toBe("denied");
    expect(delegations.accept(anchored("origin.test"))).toBe("taken");
  });

  test("is refused when there are too many", () => {
    vi.useFakeTimers();
    const verdicts = Array.from({ length: 257 }, (_, index) =>
      delegations.accept(delegationOf(`/${index}`)),
    );
    expect(verdicts.filter((verdict) => verdict === "taken")).toHaveLength(256);
    expect(verdicts.at(-1)).toBe("busy");
  });
});
