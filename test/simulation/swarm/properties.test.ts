import { expect, test } from "vitest";
import { playSeeds } from "./play-seeds.ts";

/** Thousands by hand: `npm run simulate -- properties --seeds 5000`. */
const SEEDS_IN_THE_CHECK = 400;

/**
 * Goal: whatever fails, in whatever order, no piece is leased in vain or twice, every client that can be served is served, the
 * logs fold to the state, and nothing is left when the hosts are gone.
 *
 * Method: small swarms whose hosts, links, control plane and scheduler fail as a seed has it, in virtual time.
 */
test("random faults never cost a survivor its content, nor the scheduler its state", async () => {
  const { text } = await playSeeds(1, SEEDS_IN_THE_CHECK);

  expect(text).toBe("");
}, 60_000);
