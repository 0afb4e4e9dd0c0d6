/**
 * One sequence of several that are each in ascending order.
 *
 * @param sources are closed when the reader stops early or one of them fails.
 */
export async function* mergedInOrder<Item>(
  sources: readonly AsyncGenerator<Item>[],
  orderOf: (item: Item) => number,
): AsyncGenerator<Item> {
  try {
    const heads = await Promise.all(sources.map((source) => source.next()));
    for (;;) {
      let first = -1;
      let lowest = Number.POSITIVE_INFINITY;
      for (const [index, head] of heads.entries()) {
        if (head.done === true || orderOf(head.value) >= lowest) continue;
        first = index;
        lowest = orderOf(head.value);
      }
      const head = heads[first];
      const source = sources[first];
      if (head === undefined || head.done === true || source === undefined) return;
      yield head.value;
      heads[first] = await source.next();
    }
  } finally {
    await Promise.all(sources.map((source) => source.return(undefined)));
  }
}
