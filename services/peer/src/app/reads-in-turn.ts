import type { FetchEnd } from "./lease-fetch.ts";

/** Pieces whose bytes are here and whose digest is not: with more of them the next one is not asked for. */
const LATE_COUNT_MAX = 16;

/** What one read becomes: first `arrived`, unless it fails, then its end. */
export type BeginRead<Part> = (part: Part, arrived: () => void) => Promise<FetchEnd>;

/**
 * Reads parts one after the other, the next one as soon as the bytes of the one before are here: their digests travel another
 * way, and a source that waited for them would be idle for as long with every piece.
 *
 * @returns the first failure, after which nothing more is begun, when everything that was begun has ended.
 */
export async function readsInTurn<Part>(
  parts: Iterable<Part>,
  begin: BeginRead<Part>,
  lateCountMax = LATE_COUNT_MAX,
): Promise<FetchEnd | undefined> {
  const running = new Set<Promise<void>>();
  let failed: FetchEnd | undefined;
  const broken: unknown[] = [];
  for (const part of parts) {
    const { promise: arrived, resolve } = Promise.withResolvers<void>();
    const read = async (): Promise<void> => {
      const end = await begin(part, resolve);
      if (!end.ok) failed ??= end;
    };
    const reading = read()
      .catch((error: unknown) => void broken.push(error))
      .finally(() => {
        running.delete(reading);
        resolve();
      });
    running.add(reading);
    await arrived;
    if (running.size > lateCountMax) await Promise.race(running);
    if (failed !== undefined || broken.length > 0) break;
  }
  await Promise.all(running);
  if (broken.length > 0) throw broken[0];
  return failed;
}
