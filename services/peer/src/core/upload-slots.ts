/** A transfer that gets less of a host's upload limit is given up by its child, see `patienceMs`: twice the least pace. */
const SLOT_BYTES_PER_SECOND_MIN = 512 * 1024;

/**
 * Transfers that a host serves at once: no more than its upload limit feeds, so that each brings its pieces in time.
 *
 * @param bytesPerSecond the limit of all uploads together; 0: none.
 */
export function uploadSlotsOf(slotCount: number, bytesPerSecond: number): number {
  if (bytesPerSecond === 0) return slotCount;
  return Math.max(1, Math.min(slotCount, Math.floor(bytesPerSecond / SLOT_BYTES_PER_SECOND_MIN)));
}
