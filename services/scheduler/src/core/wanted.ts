import { type ByteSpan, pieceCountOf, piecesCovering } from "@lacewing/contracts/pieces.ts";
import type { Peer, Request, Task } from "./state.ts";

/** The pieces that a request needs, as first index and the index after the last; none before the description. */
export function piecesOfRequest(
  task: Task,
  request: Pick<Request, "wantedStart" | "wantedEnd">,
): ByteSpan {
  if (task.layout === undefined) return { start: 0, end: 0 };
  if (isWholeWanted(request)) return { start: 0, end: pieceCountOf(task.layout) };
  const end = Math.min(request.wantedEnd, task.layout.lengthBytes);
  return piecesCovering(task.layout, { start: request.wantedStart, end });
}

/** Whether the request is for everything, whose length may not be known yet. */
export function isWholeWanted(request: Pick<Request, "wantedStart" | "wantedEnd">): boolean {
  return request.wantedStart === 0 && request.wantedEnd === 0;
}

/** Whether somebody at the peer needs the piece, held or not. */
export function isWantedBy(task: Task, peer: Peer, piece: number): boolean {
  if (peer.isSeeding) return true;
  for (const request of peer.requests.values()) {
    const span = piecesOfRequest(task, request);
    if (piece >= span.start && piece < span.end) return true;
  }
  return false;
}

/**
 * Pieces that the peer wants and that are neither held by it nor on their way to it: those that failed once first, then in
 * index order, because clients read in order.
 */
export function* wantedPieces(task: Task, peer: Peer, only?: Request): Generator<number> {
  for (const piece of peer.retryFirst ?? []) {
    if (
      isMissing(peer, piece) &&
      (only === undefined
        ? isWantedBy(task, peer, piece)
        : isWithin(piecesOfRequest(task, only), piece))
    ) {
      yield piece;
    }
  }
  for (const span of only === undefined ? wantedSpans(task, peer) : [piecesOfRequest(task, only)]) {
    for (let piece = span.start; piece < span.end; piece++) {
      if (isMissing(peer, piece) && peer.retryFirst?.has(piece) !== true) yield piece;
    }
  }
}

export function isWithin(span: ByteSpan, piece: number): boolean {
  return piece >= span.start && piece < span.end;
}

function isMissing(peer: Peer, piece: number): boolean {
  return !peer.held.has(piece) && !peer.leased.has(piece);
}

/** The spans of all requests, joined where they touch, in order. */
function wantedSpans(task: Task, peer: Peer): readonly ByteSpan[] {
  if (task.layout === undefined) return [];
  if (peer.isSeeding) return [{ start: 0, end: pieceCountOf(task.layout) }];
  const spans = [...peer.requests.values()]
    .map((request) => piecesOfRequest(task, request))
    .toSorted((a, b) => a.start - b.start);
  const joined: { start: number; end: number }[] = [];
  for (const span of spans) {
    const last = joined.at(-1);
    if (last !== undefined && span.start <= last.end) last.end = Math.max(last.end, span.end);
    else joined.push({ ...span });
  }
  return joined;
}
