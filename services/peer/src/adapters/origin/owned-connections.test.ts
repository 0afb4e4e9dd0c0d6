import { Socket } from "node:net";
import { expect, test } from "vitest";
import { OwnedConnections } from "./owned-connections.ts";

const A = new URL("http://a.test/x");
const B = new URL("https://b.test/x");

test("each client connection has one of its own for each origin, until it is closed", () => {
  const owned = new OwnedConnections();
  const [alice, bob] = [new Socket(), new Socket()];
  const own = owned.begin(alice, A);
  expect(owned.begin(alice, new URL("http://a.test/y"))).toBe(own);
  expect(owned.of(alice, A)).toBe(own);
  expect([owned.of(bob, A), owned.of(alice, B)]).toEqual([undefined, undefined]);
  expect(owned.begin(bob, A)).not.toBe(own);
});

test("there are so many in all, and a client that goes makes room for as many as it had", () => {
  const owned = new OwnedConnections(2);
  const [alice, bob] = [new Socket(), new Socket()];
  owned.begin(alice, A);
  owned.begin(alice, B);
  const busy = "all 2 connections that belong to one client each";
  expect(() => owned.begin(bob, A)).toThrow(busy);
  alice.emit("close", false);
  owned.begin(bob, A);
  owned.begin(bob, B);
  expect(() => owned.begin(new Socket(), A)).toThrow(busy);
});
