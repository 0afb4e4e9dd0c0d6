/** Takes out what was put in first when there is more than `countMax` of it: called after each addition, it bounds a memory. */
export function dropOldest<Key>(memory: Map<Key, unknown> | Set<Key>, countMax: number): void {
  const oldest = memory.keys().next();
  if (memory.size > countMax && oldest.done !== true) memory.delete(oldest.value);
}
