import { chmodSync, rmSync } from "node:fs";
import {
  Metadata,
  Server,
  ServerCredentials,
  type sendUnaryData,
  type ServerWritableStream,
  status,
  type ServiceError,
} from "@grpc/grpc-js";
import {
  type DownloadRequest,
  type DownloadResponse,
  PeerApiService,
  type PeerApiServer,
  type PinTaskRequest,
  type RemoveTaskRequest,
  type RemoveTaskResponse,
  type TaskStat,
} from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { parseTaskId } from "@lacewing/contracts/ids.ts";
import { pieceCountOf } from "@lacewing/contracts/pieces.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import { HealthImplementation } from "grpc-health-check";
import type { AccountedAnswer } from "../../app/download-answers.ts";
import type { DownloadService } from "../../app/download-service.ts";
import type { ClientRequest, HeaderList, PieceStore, StoredTask } from "../../app/ports.ts";
import { headerOf } from "../../core/http-headers.ts";
import type { Rule } from "../../core/rules.ts";

/** Content in one message: large enough to be cheap, well below gRPC's 4 MiB limit. */
const CONTENT_BYTES_PER_MESSAGE = 256 * 1024;
/** Progress is told this often at most. */
const PROGRESS_INTERVAL_MS = 100;
/** The longest path of a unix socket on Linux, its terminator left out. */
const SOCKET_PATH_BYTES_MAX = 107;

export interface PeerApiOptions {
  readonly socketPath: string;
  readonly store: PieceStore;
  readonly downloads: DownloadService;
  /** The rule for a URL; there always is one: who asks by this API wants peers. */
  readonly ruleFor: (url: URL) => Rule;
  readonly clock: Clock;
  readonly log: Log;
}

/** Serves the peer API on a unix socket that only this user can open. */
export async function startPeerApi(options: PeerApiOptions): Promise<{ close(): Promise<void> }> {
  const pathBytes = Buffer.byteLength(options.socketPath);
  if (pathBytes > SOCKET_PATH_BYTES_MAX) {
    throw new PortError(
      "socket_path_too_long",
      `the API socket's path has ${pathBytes} bytes, the system allows ${SOCKET_PATH_BYTES_MAX}: ${options.socketPath}`,
      { retryable: false },
    );
  }
  // A socket that a killed process left behind would make the address look taken.
  rmSync(options.socketPath, { force: true });
  const server = new Server();
  const service: PeerApiServer = {
    download: (call) => {
      streamDownload(call, options).catch((error: unknown) =>
        call.emit("error", asServiceError(error)),
      );
    },
    statTask: ({ request }, callback) => {
      const stored = findTask(options.store, request.taskId, request.url);
      if (stored === undefined) {
        callback({ code: status.NOT_FOUND, details: "this host does not hold such a task" });
      } else callback(null, statOf(stored, options.store));
    },
    listTasks: (_call, callback) => {
      const { store } = options;
      const stats = Array.from(store.list(), (stored) => statOf(stored, store));
      const tasks = stats.toSorted((a, b) => b.usedAtMs - a.usedAtMs);
      const { usedBytes, quotaBytes } = store.usage();
      callback(null, { tasks, usedBytes, quotaBytes });
    },
    removeTask: ({ request }, callback) => {
      void answerCall(removeTask(options.store, request), callback);
    },
    pinTask: ({ request }, callback) => {
      void answerCall(pinTask(options.store, request), callback);
    },
  };
  server.addService(PeerApiService, service);
  new HealthImplementation({ "": "SERVING", "lacewing.peer.v1.PeerApi": "SERVING" }).addToServer(
    server,
  );
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${options.socketPath}`, ServerCredentials.createInsecure(), (error) =>
      error === null ? resolve() : reject(error),
    );
  });
  chmodSync(options.socketPath, 0o600);
  return {
    close: async () => {
      server.forceShutdown();
      rmSync(options.socketPath, { force: true });
      await Promise.resolve();
    },
  };
}

async function streamDownload(
  call: ServerWritableStream<DownloadRequest, DownloadResponse>,
  options: PeerApiOptions,
): Promise<void> {
  const client = new AbortController();
  call.on("cancelled", () => client.abort(new Error("the client is gone")));
  const request = clientRequest(call.request, client.signal, options.clock);
  const answer = await options.downloads.download(request, options.ruleFor(request.url));
  let isComplete = false;
  try {
    await write(call, { $case: "opened", value: openedOf(answer) });
    await writeContent(call, answer, options.clock);
    isComplete = true;
    const costMs = Math.round(options.clock.monotonic() - request.receivedAtMs);
    await write(call, {
      $case: "done",
      value: { total: progressOf(answer), costMs, traceId: answer.traceId },
    });
    call.end();
  } finally {
    answer.ended(isComplete ? "complete" : client.signal.aborted ? "client_gone" : "broken_off");
  }
}

async function writeContent(
  call: ServerWritableStream<DownloadRequest, DownloadResponse>,
  answer: AccountedAnswer,
  clock: Clock,
): Promise<void> {
  let toldAtMs = 0;
  for (;;) {
    // Fresh memory for each message: gRPC may still be sending the previous one.
    const buffer = new Uint8Array(CONTENT_BYTES_PER_MESSAGE);
    const length = (await answer.body?.read(buffer)) ?? 0;
    if (length === 0) return;
    await write(call, { $case: "content", value: Buffer.from(buffer.buffer, 0, length) });
    if (clock.monotonic() - toldAtMs < PROGRESS_INTERVAL_MS) continue;
    toldAtMs = clock.monotonic();
    await write(call, { $case: "progress", value: progressOf(answer) });
  }
}

/** Writes one message and waits while the client is slower than we are. */
async function write(
  call: ServerWritableStream<DownloadRequest, DownloadResponse>,
  kind: NonNullable<DownloadResponse["kind"]>,
): Promise<void> {
  if (call.cancelled)
    throw new PortError("client_gone", "the client is gone", { retryable: false });
  if (call.write({ kind })) return;
  await new Promise<void>((resolve, reject) => {
    const settle = (end: () => void) => (): void => {
      call.off("drain", onDrain);
      call.off("cancelled", onCancelled);
      end();
    };
    const onDrain = settle(resolve);
    const onCancelled = settle(() =>
      reject(new PortError("client_gone", "the client is gone", { retryable: false })),
    );
    call.once("drain", onDrain);
    call.once("cancelled", onCancelled);
  });
}

function clientRequest(request: DownloadRequest, signal: AbortSignal, clock: Clock): ClientRequest {
  if (!URL.canParse(request.url))
    throw new PortError("invalid_argument", "the URL is malformed", { retryable: false });
  const url = new URL(request.url);
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw new PortError(
      "invalid_argument",
      `the URL's scheme is ${url.protocol} not http: or https:`,
      { retryable: false },
    );
  }
  const headers: HeaderList = request.headers.map(({ name, value }) => [name, value] as const);
  return {
    method: "GET",
    url,
    headers,
    header: (name) => headerOf(headers, name),
    receivedAtMs: clock.monotonic(),
    signal,
  };
}

function openedOf(
  answer: AccountedAnswer,
): NonNullable<Extract<DownloadResponse["kind"], { $case: "opened" }>>["value"] {
  const headers = answer.headers.map(([name, value]) => ({ name, value }));
  return {
    httpStatus: answer.status,
    taskId: answer.taskId,
    lengthBytes: answer.bodyLength ?? 0,
    headers,
  };
}

function progressOf(answer: AccountedAnswer): {
  localPeerBytes: number;
  remotePeerBytes: number;
  backToSourceBytes: number;
} {
  const { localPeer, remotePeer, backToSource } = answer.delivered();
  return {
    localPeerBytes: localPeer,
    remotePeerBytes: remotePeer,
    backToSourceBytes: backToSource,
  };
}

function findTask(store: PieceStore, taskIdText: string, url: string): StoredTask | undefined {
  const taskId = parseTaskId(taskIdText);
  if (taskId !== undefined) return store.get(taskId);
  if (url === "") return undefined;
  return [...store.list()].find(({ description }) => description.url === url);
}

async function answerCall<T>(answering: Promise<T>, callback: sendUnaryData<T>): Promise<void> {
  let answer: T;
  try {
    answer = await answering;
  } catch (error) {
    callback(asServiceError(error));
    return;
  }
  callback(null, answer);
}

async function removeTask(
  store: PieceStore,
  { taskId, force }: RemoveTaskRequest,
): Promise<RemoveTaskResponse> {
  const stored = mustHold(store, taskId);
  const { description } = stored;
  if (stored.isPinned && !force) {
    throw refusal("task_in_use", "the task is in use: somebody downloads it or reads it from here");
  }
  if (store.isPinned(description.taskId) && !force) {
    throw refusal("task_pinned", "the task is pinned");
  }
  await store.remove(description.taskId);
  return { freedBytes: description.lengthBytes };
}

async function pinTask(store: PieceStore, { taskId, pinned }: PinTaskRequest): Promise<TaskStat> {
  const stored = mustHold(store, taskId);
  if (!(await store.pin(stored.description.taskId, pinned))) {
    throw refusal("too_many_pinned", "too many tasks are pinned already");
  }
  return statOf(stored, store);
}

function mustHold(store: PieceStore, taskId: string): StoredTask {
  const stored = findTask(store, taskId, "");
  if (stored === undefined) throw refusal("task_unknown", "this host does not hold such a task");
  return stored;
}

function refusal(code: keyof typeof STATUS_OF_REFUSAL, message: string): PortError {
  return new PortError(code, message, { retryable: false });
}

/** Refusals of this API on the wire. */
const STATUS_OF_REFUSAL = {
  invalid_argument: status.INVALID_ARGUMENT,
  task_unknown: status.NOT_FOUND,
  task_in_use: status.FAILED_PRECONDITION,
  task_pinned: status.FAILED_PRECONDITION,
  too_many_pinned: status.RESOURCE_EXHAUSTED,
} as const;

function statOf(stored: StoredTask, store: PieceStore): TaskStat {
  const { description, held } = stored;
  return {
    taskId: description.taskId,
    url: description.url,
    anchor: description.anchor ?? "",
    lengthBytes: description.lengthBytes,
    pieceLengthBytes: description.pieceLengthBytes,
    pieceCount: pieceCountOf(stored.layout),
    heldPieceCount: held.count,
    isVerified: stored.isVerified,
    incarnation: stored.incarnation,
    createdAtMs: description.createdAtMs,
    usedAtMs: Math.round(stored.usedAtMs),
    bitmap: Buffer.from(held.toBytes()),
    isPinned: store.isPinned(description.taskId),
    isInUse: stored.isPinned,
  };
}

function asServiceError(error: unknown): ServiceError {
  return Object.assign(new Error(messageOf(error)), {
    code: statusOf(error),
    details: messageOf(error),
    metadata: new Metadata(),
  });
}

function statusOf(error: unknown): status {
  if (!(error instanceof PortError)) return status.ABORTED;
  const refused = Object.entries(STATUS_OF_REFUSAL).find(([code]) => code === error.code);
  if (refused !== undefined) return refused[1];
  return error.retryable ? status.UNAVAILABLE : status.ABORTED;
}
