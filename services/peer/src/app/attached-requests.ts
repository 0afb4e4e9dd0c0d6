import type { TaskRequested } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import { type ByteSpan, piecesCovering } from "@lacewing/contracts/pieces.ts";
import { missingPieces } from "../core/fetch-plan.ts";
import type { OriginAccess } from "./origin-access.ts";
import type { StoredTask } from "./ports.ts";
import type { TaskReader, TrafficBytes } from "./task-reader.ts";

/** One client request that a download serves. */
export interface AttachedRequest {
  readonly reader: TaskReader;
  readonly access: OriginAccess;
  /** As the scheduler is asked. */
  readonly asked: TaskRequested;
  /** It stands for a client that has not come: nothing is done for it that was not granted. */
  readonly isPlace?: boolean;
  /** Its client is gone; what it wanted, or more, is fetched all the same. */
  readonly isBackground?: boolean;
  /** What its rule says of a client that breaks off, and of one that wants a part. */
  readonly keepOnAbort?: boolean;
  readonly prefetch?: boolean;
  /** Whether the scheduler was asked yet: content that is held here needs no scheduler. */
  isAsked: boolean;
  readonly traceparent: string;
  /** Bytes this request made the host fetch; counted here as they arrive. */
  readonly fetched: TrafficBytes;
  /** Called when the download goes on without the scheduler. */
  readonly onDegraded: () => void;
  /** Called once after the request was detached and no byte will be counted for it any more. */
  readonly onSettled: () => void;
}

/** The clients of one task: what they still want, and on whose account a fetched byte goes. */
export class AttachedRequests {
  readonly #stored: StoredTask;
  readonly #requests = new Map<TaskReader, AttachedRequest>();
  /** The last client, gone, while what it had begun is still arriving: somebody must account for those bytes. */
  #leaving: AttachedRequest | undefined;

  constructor(stored: StoredTask) {
    this.#stored = stored;
  }

  get size(): number {
    return this.#requests.size;
  }

  [Symbol.iterator](): IterableIterator<AttachedRequest> {
    return this.#requests.values();
  }

  add(request: AttachedRequest): void {
    this.#requests.set(request.reader, request);
    this.settle();
  }

  get(reader: TaskReader): AttachedRequest | undefined {
    return this.#requests.get(reader);
  }

  /** Another request takes over the account and the name of one that leaves. */
  replace(left: AttachedRequest, heir: AttachedRequest): void {
    this.#requests.delete(left.reader);
    this.#requests.set(heir.reader, heir);
  }

  /** Whether there are requests, and none of a client that is here. */
  get isBackground(): boolean {
    for (const { isBackground } of this.#requests.values()) if (isBackground !== true) return false;
    return this.#requests.size > 0;
  }

  /** Whether the background brings these spans already. */
  isBequeathed(spans: readonly ByteSpan[]): boolean {
    return [...this.#requests.values()].some(
      ({ isBackground, reader }) =>
        isBackground === true && spans.every((span) => isWithin(span, reader.spans)),
    );
  }

  /** @returns the request, when it was attached; it pays for what still arrives if it is the last one. */
  remove(reader: TaskReader): AttachedRequest | undefined {
    const request = this.#requests.get(reader);
    if (request === undefined) return undefined;
    this.#requests.delete(reader);
    request.access.dropOpen();
    if (this.#requests.size > 0) request.onSettled();
    else this.#leaving = request;
    return request;
  }

  /** Nothing more arrives on the account of a client that is gone. */
  settle(): void {
    const leaving = this.#leaving;
    this.#leaving = undefined;
    leaving?.onSettled();
  }

  /** The request that a lease serves; any other when that one is over. */
  payer(requestId: string | undefined): AttachedRequest | undefined {
    let first: AttachedRequest | undefined;
    for (const request of this.#requests.values()) {
      if (request.access.requestId === requestId) return request;
      first ??= request;
    }
    return first ?? this.#leaving;
  }

  /** One of the requests whose access is not refused, another one for each number: another client may be let in. */
  at(turn: number, isRefused: (access: OriginAccess) => boolean): AttachedRequest | undefined {
    const clients = this.#clients();
    const admitted = clients.filter(({ access }) => !isRefused(access));
    const chosen = admitted.length > 0 ? admitted : clients;
    return chosen[turn % Math.max(1, chosen.length)];
  }

  /** With which the origin can be read for clients. */
  get accesses(): readonly OriginAccess[] {
    return this.#clients().map(({ access }) => access);
  }

  /** Whether any client here was handed a byte. */
  get hasDelivered(): boolean {
    return this.#clients().some(({ reader: { delivered } }) => {
      return delivered.localPeer + delivered.remotePeer + delivered.backToSource > 0;
    });
  }

  /** Pieces that readers still need and that `isTaken` does not know, ascending. */
  missing(isTaken: (pieceIndex: number) => boolean): number[] {
    const wanted = new Set<number>();
    const { layout, held } = this.#stored;
    for (const { reader, isPlace } of this.#requests.values()) {
      if (isPlace === true) continue;
      // What is withheld waits for the whole to be hashed, so a piece that is lost behind the cursor is needed again.
      const spans = reader.isWithheld ? reader.spans : reader.remaining;
      for (const span of spans) {
        for (const index of missingPieces(layout, held, span))
          if (!isTaken(index)) wanted.add(index);
      }
    }
    return [...wanted].toSorted((a, b) => a - b);
  }

  /** Every piece that a request wants, ascending; all of the content when nobody is there to say. */
  piecesOf(requestId: string): number[] {
    const { layout } = this.#stored;
    const spans = this.payer(requestId)?.reader.spans ?? [{ start: 0, end: layout.lengthBytes }];
    const pieces = new Set<number>();
    for (const span of spans) {
      const { start, end } = piecesCovering(layout, span);
      for (let index = start; index < end; index++) pieces.add(index);
    }
    return [...pieces].toSorted((a, b) => a - b);
  }

  dropOpenAnswers(): void {
    for (const { access } of this.#requests.values()) access.dropOpen();
  }

  #clients(): readonly AttachedRequest[] {
    return [...this.#requests.values()].filter(({ isPlace }) => isPlace !== true);
  }
}

function isWithin({ start, end }: ByteSpan, spans: readonly ByteSpan[]): boolean {
  return spans.some((span) => span.start <= start && end <= span.end);
}
