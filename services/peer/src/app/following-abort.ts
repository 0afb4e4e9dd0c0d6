/** An abort of its own that also follows another one, until it is released. */
export interface FollowingAbort {
  readonly signal: AbortSignal;
  abort(reason: unknown): void;
  /** The other one may live longer: nothing of this stays with it. */
  release(): void;
}

/** Costs half of `AbortSignal.any`, whose signals the collector has to watch; a small content is fetched in a millisecond. */
export function followingAbort(followed: AbortSignal): FollowingAbort {
  const own = new AbortController();
  const follow = (): void => own.abort(followed.reason);
  if (followed.aborted) follow();
  else followed.addEventListener("abort", follow, { once: true });
  return {
    signal: own.signal,
    abort: (reason) => own.abort(reason),
    release: () => followed.removeEventListener("abort", follow),
  };
}
