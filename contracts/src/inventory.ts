/** One task as a host holds it. */
export interface InventoryEntry {
  readonly taskId: string;
  readonly incarnation: number;
  readonly heldPieceCount: number;
}

const FNV_OFFSET = 0xcbf29ce484222325n;
const FNV_PRIME = 0x100000001b3n;
const MASK_64 = 0xffffffffffffffffn;

/**
 * What a host holds, in 16 hex digits that do not depend on order: the XOR of the entries' FNV-1a hashes. A scheduler
 * compares it with its own picture of the host and asks for a full announce when they stay different. No secret and no
 * proof: a difference that hashes alike is found by the next change.
 */
export function inventoryDigest(entries: Iterable<InventoryEntry>): string {
  let digest = 0n;
  for (const entry of entries) {
    if (entry.heldPieceCount > 0) {
      digest ^= fnv1a64(`${entry.taskId}:${entry.incarnation}:${entry.heldPieceCount}`);
    }
  }
  return digest.toString(16).padStart(16, "0");
}

function fnv1a64(text: string): bigint {
  let hash = FNV_OFFSET;
  for (let at = 0; at < text.length; at++) {
    hash = ((hash ^ BigInt(text.charCodeAt(at))) * FNV_PRIME) & MASK_64;
  }
  return hash;
}
