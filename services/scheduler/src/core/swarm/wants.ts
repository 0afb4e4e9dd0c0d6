/** What a peer wants: nothing, the whole content, or the pieces of a mask. */
export type Wants = "nothing" | "all" | Uint32Array;

/** Word `at` of the set of pieces that are wanted, held or not. */
export function wantedWord(wants: Wants, pieceCount: number, at: number): number {
  if (wants === "nothing") return 0;
  if (wants !== "all") return wants[at] ?? 0;
  const rest = pieceCount - at * 32;
  return rest >= 32 ? -1 : (1 << rest) - 1;
}
