import {
  type ParentRead,
  type PieceClient,
  TransferError,
  type TransferSink,
} from "@lacewing/peer/app/ports.ts";

/** What one read of a socket brings. */
const CHUNK_BYTES = 256 * 1024;

/** Parents by address, each with a content of its own. */
export class MemoryPieceClient implements PieceClient {
  readonly parents = new Map<string, Uint8Array>();
  readonly reads: ParentRead[] = [];
  /** Asked before each chunk: may wait, or throw what becomes of the read. */
  beforeChunk: (request: ParentRead, signal: AbortSignal) => Promise<void> | void = () => {};

  async read(request: ParentRead, sink: TransferSink, signal: AbortSignal): Promise<void> {
    this.reads.push(request);
    const content = this.parents.get(request.address);
    if (content === undefined) throw new TransferError("unreachable", request.address);
    const { start, end } = request.span;
    for (let at = start; at < end; at += CHUNK_BYTES) {
      await new Promise(setImmediate);
      await this.beforeChunk(request, signal);
      signal.throwIfAborted();
      const to = Math.min(end, at + CHUNK_BYTES);
      await sink.write(content.subarray(at, to), at);
      sink.written(to);
    }
  }

  close(): void {}
}
