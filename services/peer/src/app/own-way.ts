import type { AnswerWatch } from "./answer-watch.ts";
import type { AttachedRequest, AttachedRequests } from "./attached-requests.ts";
import type { DownloadServices } from "./download-services.ts";
import type { StoredTask } from "./ports.ts";

/**
 * Scheduler and host know different contents by the same name, because an origin lied, changed, or sent one of them a page to log in. Ours
 * is what the origin said just now to our client: it is read from there, and nobody is told or asked. With an anchor nobody has to make up
 * his mind: the digest of the whole will tell.
 */
export class OwnWay {
  readonly #stored: StoredTask;
  readonly #services: Pick<DownloadServices, "apart" | "link" | "log">;
  readonly #requests: AttachedRequests;
  readonly #watch: AnswerWatch;

  constructor(
    stored: StoredTask,
    services: Pick<DownloadServices, "apart" | "link" | "log">,
    requests: AttachedRequests,
    watch: AnswerWatch,
  ) {
    this.#stored = stored;
    this.#services = services;
    this.#requests = requests;
    this.#watch = watch;
  }

  /** The content of others is so long, 0: nobody knows. @returns whether that is another content; the scheduler is told then. */
  isOther(lengthBytes: number): boolean {
    const { description, layout } = this.#stored;
    if (lengthBytes === 0 || lengthBytes === layout.lengthBytes) return false;
    if (description.anchor === undefined || this.#services.apart.has(this.#stored)) return false;
    this.#services.link.describe(this.#stored, "", false);
    return true;
  }

  /** @returns whether anybody reads on here. */
  take(): boolean {
    const { apart, link, log } = this.#services;
    const { taskId: task, lengthBytes } = this.#stored.description;
    if (!apart.has(this.#stored))
      log.warn("others have another content by this name", { task, lengthBytes });
    apart.add(this.#stored);
    link.withdraw(this.#stored);
    for (const request of this.#requests) this.endAsking(request);
    this.#watch.expectNothing();
    return this.#requests.size > 0;
  }

  /** Nothing is to be done for the request by others any more. */
  endAsking(request: AttachedRequest): void {
    if (!request.isAsked) return;
    request.isAsked = false;
    this.#services.link.endRequest(this.#stored.description.taskId, request.access.requestId);
  }
}
