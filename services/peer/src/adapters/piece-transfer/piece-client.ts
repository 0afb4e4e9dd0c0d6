import {
  TransferError,
  type ParentRead,
  type PieceClient,
  type TransferSink,
} from "../../app/ports.ts";
import { formatPieceRange } from "../../core/piece-http-range.ts";
import { BULK_CONTENT_BYTES_MAX, BulkReader } from "./bulk-reader.ts";
import { ConnectionPool } from "./connection-pool.ts";
import { LEASE_HEADER } from "./lease-check.ts";
import { type PieceConnection, StaleConnection } from "./piece-connection.ts";

/** Times in milliseconds. */
export interface PieceClientLimits {
  /** A parent in the same network answers in a few; one that is not there must not cost a download more. */
  readonly connectTimeoutMs: number;
  /** No byte for this long: the parent hangs. Time in which our own disk is behind does not count. */
  readonly stallTimeoutMs: number;
  /** An unused connection is closed after this; well below the server's own limit. */
  readonly idleTimeoutMs: number;
  /** A read waits this long for one of the connections below, then its parent counts as busy. */
  readonly waitTimeoutMs: number;
  /** Open connections: each holds a buffer of 256 KiB while it is open. */
  readonly connectionCountMax: number;
  readonly idleCountPerAddressMax: number;
  /** Reads that wait for a connection; more are refused at once. */
  readonly waitingCountMax: number;
}

export const PIECE_CLIENT_LIMITS: PieceClientLimits = {
  connectTimeoutMs: 2_000,
  stallTimeoutMs: 10_000,
  idleTimeoutMs: 30_000,
  waitTimeoutMs: 10_000,
  connectionCountMax: 64,
  idleCountPerAddressMax: 4,
  waitingCountMax: 256,
};

/** Text of a header that cannot end its line. */
const HEADER_TEXT = /^[\x21-\x7e]*$/;

/** Reads pieces from other hosts' piece servers. */
export function createPieceClient(limits: Partial<PieceClientLimits> = {}): PieceClient {
  const all = { ...PIECE_CLIENT_LIMITS, ...limits };
  const pool = new ConnectionPool(all);
  const bulk = new BulkReader(
    (request, sink, signal) => readAlone(pool, request, sink, signal),
    all,
  );
  return {
    read: async (request, sink, signal) => {
      signal.throwIfAborted();
      const { span, isWhole, isAhead = false } = request;
      if (span.end <= span.start) return;
      mustBeHeaderText(request);
      const isSmall = isWhole && !isAhead && span.end <= BULK_CONTENT_BYTES_MAX;
      await (isSmall ? bulk.read(request, sink, signal) : readAlone(pool, request, sink, signal));
    },
    close: () => {
      pool.close();
      bulk.close();
    },
  };
}

async function readAlone(
  pool: ConnectionPool,
  request: ParentRead,
  sink: TransferSink,
  signal: AbortSignal,
): Promise<void> {
  const head = requestHead(request);
  const first = await pool.take(request.address, signal, "idle_or_new");
  try {
    await readOn(pool, first, head, request, sink, signal);
  } catch (error) {
    if (!(error instanceof StaleConnection)) throw error;
    // The parent closed the connection while it was idle: that says nothing about the parent.
    const fresh = await pool.take(request.address, signal, "new");
    await readOn(pool, fresh, head, request, sink, signal);
  }
}

async function readOn(
  pool: ConnectionPool,
  connection: PieceConnection,
  head: string,
  request: ParentRead,
  sink: TransferSink,
  signal: AbortSignal,
): Promise<void> {
  try {
    await connection.read(head, request.span, sink, signal);
  } finally {
    pool.giveBack(connection);
  }
}

/** @throws {TransferError} `malformed` when a field would break out of its line. */
function mustBeHeaderText({ address, taskId, token, traceparent }: ParentRead): void {
  for (const text of [address, taskId, token, traceparent]) {
    if (!HEADER_TEXT.test(text)) {
      throw new TransferError("malformed", "a request field holds a space or a control character");
    }
  }
}

function requestHead(request: ParentRead): string {
  const { address, taskId, span, token, traceparent } = request;
  const trace = traceparent === "" ? "" : `traceparent: ${traceparent}\r\n`;
  return (
    `GET /v1/tasks/${taskId}/content HTTP/1.1\r\nhost: ${address}\r\n` +
    `range: ${formatPieceRange(span)}\r\n${LEASE_HEADER}: ${token}\r\n${trace}\r\n`
  );
}
