import type { Clock } from "@lacewing/runtime/clock.ts";
import { dropOldest } from "../../core/drop-oldest.ts";

/** How long it is remembered whether a host speaks TLS. */
const REMEMBER_MS = 10 * 60_000;
/** A host that drops packets to port 443 costs one request this much, once per {@link REMEMBER_MS}. */
const PROBE_TIMEOUT_MS = 2_000;
/** Hosts remembered; the one asked longest ago is forgotten first. */
const HOST_COUNT_MAX = 1024;

interface Known {
  readonly speaksTls: Promise<boolean>;
  readonly untilMs: number;
}

/**
 * Decides whether a plain-http URL is asked by TLS. Clients point at `http://…` so that a proxy can see the request; the
 * origin behind it usually wants https, and the bytes should not cross the internet in the open.
 */
export class TlsChoice {
  readonly #clock: Clock;
  readonly #probe: (hostname: string, timeoutMs: number) => Promise<boolean>;
  readonly #known = new Map<string, Known>();

  constructor(clock: Clock, probe: (hostname: string, timeoutMs: number) => Promise<boolean>) {
    this.#clock = clock;
    this.#probe = probe;
  }

  /** The URL to ask: https stays https; http becomes https when the rule says so, or by "auto" when the host speaks it. */
  async urlFor(url: URL, useTls: boolean | "auto"): Promise<URL> {
    if (url.protocol !== "http:" || useTls === false) return url;
    if (useTls === "auto") {
      if (url.port !== "" || !(await this.#speaksTls(url.hostname))) return url;
    }
    const secure = new URL(url);
    secure.protocol = "https:";
    return secure;
  }

  /** The origin sent a client back to plain http: TLS is not for this host. */
  prefersPlain(hostname: string): void {
    void this.#remember(hostname, Promise.resolve(false));
  }

  async #speaksTls(hostname: string): Promise<boolean> {
    const known = this.#known.get(hostname);
    if (known !== undefined && known.untilMs > this.#clock.monotonic()) return known.speaksTls;
    // Requests that come meanwhile wait for the same probe.
    return this.#remember(hostname, this.#probe(hostname, PROBE_TIMEOUT_MS));
  }

  #remember(hostname: string, speaksTls: Promise<boolean>): Promise<boolean> {
    this.#known.delete(hostname);
    this.#known.set(hostname, { speaksTls, untilMs: this.#clock.monotonic() + REMEMBER_MS });
    dropOldest(this.#known, HOST_COUNT_MAX);
    return speaksTls;
  }
}
