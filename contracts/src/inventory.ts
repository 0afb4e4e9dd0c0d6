/** One task as a host holds it. */
export interface InventoryEntry {
  readonly taskId: string;
  readonly incarnation: number;
  readonly heldPieceCount: number;
}

/** The offset basis 0xcbf29ce484222325 in two halves. */
const FNV_OFFSET_HIGH = 0xcbf29ce4;
const FNV_OFFSET_LOW = 0x84222325;
/** The prime is 2^40 + this. */
const FNV_PRIME_REST = 0x1b3;
const TWO_TO_32 = 2 ** 32;

/**
 * What a host holds, in 16 hex digits that do not depend on order: the XOR of the entries' FNV-1a hashes. A scheduler
 * compares it with its own picture of the host and asks for a full announce when they stay different. No secret and no
 * proof: a difference that hashes alike is found by the next change.
 */
export function inventoryDigest(entries: Iterable<InventoryEntry>): string {
  let high = 0;
  let low = 0;
  for (const { taskId, incarnation, heldPieceCount } of entries) {
    if (heldPieceCount === 0) continue;
    const hash = fnv1a64(`${taskId}:${incarnation}:${heldPieceCount}`);
    high ^= hash.high;
    low ^= hash.low;
  }
  return hexOf(high) + hexOf(low);
}

/** In halves of 32 bits, because a host may hold a hundred thousand small contents, and BigInt takes ten times as long. */
function fnv1a64(text: string): { readonly high: number; readonly low: number } {
  let high = FNV_OFFSET_HIGH;
  let low = FNV_OFFSET_LOW;
  for (let at = 0; at < text.length; at++) {
    low = (low ^ text.charCodeAt(at)) >>> 0;
    // All sums stay below 2^53: they are exact.
    const product = low * FNV_PRIME_REST;
    const carry = Math.floor(product / TWO_TO_32);
    high = (high * FNV_PRIME_REST + carry + ((low << 8) >>> 0)) >>> 0;
    low = product >>> 0;
  }
  return { high, low };
}

function hexOf(half: number): string {
  return (half >>> 0).toString(16).padStart(8, "0");
}
