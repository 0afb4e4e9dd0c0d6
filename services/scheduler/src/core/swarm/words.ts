/** Sets of piece indexes as 32-bit words: bit i%32 of word i/32. Several sets of one size lie in one array, one after another. */

export function wordCountOf(pieceCount: number): number {
  return (pieceCount + 31) >>> 5;
}

/** Number of bits set in a word. */
export function popcount(word: number): number {
  let bits = word - ((word >>> 1) & 0x55555555);
  bits = (bits & 0x33333333) + ((bits >>> 2) & 0x33333333);
  return Math.imul((bits + (bits >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
}

/** Index of the lowest bit set; the word is not 0. */
export function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

export function hasBit(words: Uint32Array, base: number, index: number): boolean {
  return ((words[base + (index >>> 5)] ?? 0) & (1 << (index & 31))) !== 0;
}

export function setBit(words: Uint32Array, base: number, index: number): void {
  const at = base + (index >>> 5);
  words[at] = (words[at] ?? 0) | (1 << (index & 31));
}

export function clearBit(words: Uint32Array, base: number, index: number): void {
  const at = base + (index >>> 5);
  words[at] = (words[at] ?? 0) & ~(1 << (index & 31));
}

/** `from` at the beginning of the larger `to`. */
export function grown<Words extends Uint8Array | Uint16Array | Uint32Array | Float64Array>(
  from: Words,
  to: Words,
): Words {
  to.set(from);
  return to;
}
