import { ReaderBlocked } from "./gen/lacewing/hints/v1/hints.ts";
import { type HostId, parseTaskId, type TaskId } from "./ids.ts";
import { PIECE_COUNT_MAX } from "./limits.ts";
import { sliceOf } from "./slices.ts";
import { parseHintsSubject } from "./subjects.ts";

/** The format of hints that this code writes. */
const HINT_VERSION = 1;
/** A hint is an id and two numbers; fields that later versions add may take the rest. */
const HINT_BYTES_MAX = 512;

/** A client of the host reads in order, and what it waits for is on its way from nowhere. */
export interface ReaderHint {
  readonly hostId: HostId;
  readonly taskId: TaskId;
  readonly pieceIndex: number;
}

export function encodeReaderHint({ taskId, pieceIndex }: Omit<ReaderHint, "hostId">): Uint8Array {
  return ReaderBlocked.encode({ version: HINT_VERSION, taskId, pieceIndex }).finish();
}

export type DecodedHint =
  | { readonly ok: true; readonly hint: ReaderHint }
  | { readonly ok: false; readonly reason: string };

/** Decodes and checks one hint: a host speaks for itself only, and about a task of the subject's slice. */
export function decodeReaderHint(subjectText: string, bytes: Uint8Array): DecodedHint {
  const subject = parseHintsSubject(subjectText);
  if (subject === undefined) return refuse(`subject ${subjectText} carries no hints`);
  if (bytes.length > HINT_BYTES_MAX)
    return refuse(`${bytes.length} bytes, more than ${HINT_BYTES_MAX}`);
  let message: ReaderBlocked;
  try {
    message = ReaderBlocked.decode(bytes);
  } catch (error) {
    return refuse(`not a hint: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (message.version !== HINT_VERSION)
    return refuse(`version ${message.version}, known is ${HINT_VERSION}`);
  const taskId = parseTaskId(message.taskId);
  if (taskId === undefined) return refuse("task id is malformed");
  if (sliceOf(taskId) !== subject.slice)
    return refuse(`a task of slice ${sliceOf(taskId)} on the subject of slice ${subject.slice}`);
  const { pieceIndex } = message;
  if (pieceIndex >= PIECE_COUNT_MAX)
    return refuse(`piece ${pieceIndex}, more than a content can have`);
  return { ok: true, hint: { hostId: subject.hostId, taskId, pieceIndex } };
}

function refuse(reason: string): DecodedHint {
  return { ok: false, reason };
}
