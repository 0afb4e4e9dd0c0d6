import type { AttachedRequests } from "./attached-requests.ts";
import { DownloadFailure, OriginRefused, StorageFailure } from "./download-errors.ts";
import type { DownloadServices } from "./download-services.ts";
import type { FailedFetch } from "./failure-report.ts";
import type { EndedFetch } from "./fetch-order.ts";
import type { KnownParents } from "./known-parents.ts";
import type { OriginAccess } from "./origin-access.ts";
import type { OriginPatience } from "./origin-patience.ts";
import type { StoredTask } from "./ports.ts";

/** What a download shares with those who settle its failed fetches. */
export interface FailingDownload {
  readonly stored: StoredTask;
  readonly requests: AttachedRequests;
  readonly knownParents: KnownParents;
  readonly originPatience: OriginPatience;
  /** Whether another host may bring what is missing. */
  hasParents(): boolean;
  /** Ends every reader with `error`. */
  fail(error: Error): void;
}

/** What a failed fetch of a task means for its sources: who is asked again, later or not at all, and when the download fails. */
export class FetchFailures {
  readonly #download: FailingDownload;
  readonly #services: DownloadServices;

  constructor(download: FailingDownload, services: DownloadServices) {
    this.#download = download;
    this.#services = services;
  }

  /** A failed origin is asked again, later each time and not for ever; a failed parent not without a new lease. */
  async settle({ order, hasAdvanced }: EndedFetch, end: FailedFetch): Promise<void> {
    if (end.reason === "cancelled") return;
    const { stored, requests, knownParents, originPatience } = this.#download;
    const { source } = order;
    const parent = source.kind === "parent" ? source.hostId : "origin";
    const { taskId: task } = stored.description;
    const { reason, detail } = end;
    this.#services.log.warn("fetch failed", { task, lease: order.leaseId, parent, reason, detail });
    if (reason === "storage") {
      this.#download.fail(new StorageFailure(detail));
      return;
    }
    if (source.kind === "parent") {
      knownParents.forget(parent);
      return;
    }
    if (reason === "origin_changed" && this.#hasChanged(source.access)) {
      // What is here is of a content that the origin no longer has, or of a length that it lied about.
      this.#download.fail(new DownloadFailure(`the content changed at the origin: ${detail}`));
      this.#services.forget(stored);
      return;
    }
    if (hasAdvanced) originPatience.succeeded();
    if (end.refusal !== undefined && this.#isFinal(source.access)) {
      const { accesses } = requests;
      // What the origin says to one client is not for another.
      const isOwn = accesses.length === 1 && accesses[0] === source.access;
      this.#download.fail(isOwn ? new OriginRefused(end.refusal) : new DownloadFailure(detail));
      return;
    }
    const { retryAfterMs = 0 } = end;
    if (retryAfterMs > 0) this.#services.link.originRests(task, detail, retryAfterMs);
    const failed = { access: source.access, bytes: end.bytes, retryAfterMs };
    if (await originPatience.failed(failed, requests.accesses)) return;
    const { failureCount } = originPatience;
    const again = retryAfterMs === 0 ? "" : ` and asks to be left alone for ${retryAfterMs} ms`;
    const text = `the origin failed ${failureCount} times in a row${again}: ${detail}`;
    this.#download.fail(new DownloadFailure(text));
  }

  /**
   * Whether nobody can bring the content as it is known here any more. An anchor says what it is: what the origin has for one client now,
   * say a page to log in, is no word about what others get.
   */
  #hasChanged(access: OriginAccess): boolean {
    const { stored, requests, originPatience } = this.#download;
    originPatience.refused(access);
    if (stored.description.anchor === undefined || this.#download.hasParents())
      return stored.description.anchor === undefined;
    return requests.accesses.every((own) => originPatience.isRefused(own));
  }

  /**
   * Whether a refusal is all that clients will get. Once one has got something, the time that is lost by asking again is no reason to
   * break it off.
   */
  #isFinal(access: OriginAccess): boolean {
    const { requests, originPatience } = this.#download;
    originPatience.refused(access);
    const { accesses } = requests;
    const isRefused = accesses.length > 0 && accesses.every((own) => originPatience.isRefused(own));
    return isRefused && !requests.hasDelivered && !this.#download.hasParents();
  }
}
