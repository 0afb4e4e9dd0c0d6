import fc, { type IPropertyWithHooks } from "fast-check";

/** Runs of each fuzzer in the check: a second or two for all of them together. */
const RUN_COUNT = 300;
/** In the check every run is the same run, so that nobody's change fails for a reason that was there before it. */
const SEED = 20_260_101;

/**
 * Asserts a property of a parser. `LACEWING_FUZZ_RUNS=200000` makes it long, with another seed each time; what fails is printed
 * with its seed, and `LACEWING_FUZZ_SEED` repeats it.
 */
export function fuzz<Inputs>(property: IPropertyWithHooks<Inputs>): void {
  const runs = process.env["LACEWING_FUZZ_RUNS"];
  const seed = process.env["LACEWING_FUZZ_SEED"];
  fc.assert(property, {
    numRuns: runs === undefined ? RUN_COUNT : Number(runs),
    ...(seed !== undefined ? { seed: Number(seed) } : runs === undefined ? { seed: SEED } : {}),
  });
}

/** Milliseconds that one long fuzzer may take. */
export const FUZZ_TIMEOUT_MS = process.env["LACEWING_FUZZ_RUNS"] === undefined ? 20_000 : 3_600_000;

/** What may happen to bytes on their way: nothing, a flip, an insertion, a cut in the middle or at the end. */
const damage = fc.record({
  at: fc.nat(),
  byte: fc.nat(255),
  kind: fc.constantFrom("none", "flip", "insert", "remove", "cut", "double"),
});

/** Bytes of `valid` that were damaged a few times: what a parser that only ever saw nonsense would never get to read. */
export function damaged(valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  return fc.tuple(valid, fc.array(damage, { maxLength: 4 })).map(([bytes, damages]) => {
    let result = [...bytes];
    for (const { at, byte, kind } of damages) {
      const index = result.length === 0 ? 0 : at % result.length;
      if (kind === "flip" && result.length > 0) result[index] = (result[index] ?? 0) ^ (byte | 1);
      if (kind === "insert") result.splice(index, 0, byte);
      if (kind === "remove") result.splice(index, 1);
      if (kind === "cut") result = result.slice(0, index);
      if (kind === "double") result = [...result, ...result.slice(index)];
    }
    return Uint8Array.from(result);
  });
}

/** {@link damaged} for text of one byte per character. */
export function damagedText(valid: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return damaged(valid.map((text) => Buffer.from(text, "latin1"))).map((bytes) =>
    Buffer.from(bytes).toString("latin1"),
  );
}

/** Text put together from pieces that mean something to the parser, and from others. */
export function textOf(...words: readonly string[]): fc.Arbitrary<string> {
  const part = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...words) },
    { weight: 2, arbitrary: fc.nat().map(String) },
    { weight: 1, arbitrary: fc.string({ maxLength: 6 }) },
  );
  return fc.array(part, { maxLength: 12 }).map((parts) => parts.join(""));
}
