import { parseDigest, parseRequestId, parseTaskId } from "@lacewing/contracts/ids.ts";
import { TEXT_LENGTH_MAX } from "@lacewing/contracts/limits.ts";
import type { DownloadRow, LeaseRow } from "../ports.ts";
import { ID_LENGTH_MAX, TASK_PREFIX_LENGTH_MIN, TASKS_OF_PATH_MAX } from "./limits.ts";
import type { LiveView, StoredFacts, TaskFacts } from "./ports.ts";
import { chooseTask, idsText } from "./url-choice.ts";

/** What an id names. */
export type Subject =
  | { readonly kind: "lease"; readonly lease: LeaseRow }
  | {
      readonly kind: "task";
      readonly task: TaskFacts;
      /** What the id said besides naming the task, and how it was found. */
      readonly notes?: readonly string[];
    }
  | {
      readonly kind: "download";
      readonly download: DownloadRow;
      /** Of the same trace. */
      readonly others: readonly DownloadRow[];
    };

/** An id that names nothing, or too much: expected, and told to whoever asked. */
export interface Refusal {
  readonly kind: "refused";
  readonly code: "malformed" | "unknown" | "ambiguous";
  readonly message: string;
}

const URL_FORM = /^https?:\/\//i;
const LEASE_ID = /^\d{1,2}-\d+-\d+$/;
const TRACE_ID = /^[0-9a-f]{32}$/;
const HEX = /^[0-9a-f]+$/;
/** Downloads of a trace that are named beside the first. */
const TRACE_DOWNLOADS_MAX = 16;
/** Two are enough to see that a prefix is ambiguous. */
const AMBIGUOUS = 2;

/**
 * Finds what the id names: by its form first, then by looking.
 *
 * @throws {PortError} retryable when the database does not answer and memory does not know the id.
 */
export async function findSubject(
  text: string,
  facts: StoredFacts,
  live: LiveView | undefined,
): Promise<Subject | Refusal> {
  const id = text.trim();
  if (id.length <= TEXT_LENGTH_MAX && URL_FORM.test(id)) return taskOfUrl(id, facts);
  if (id === "" || id.length > ID_LENGTH_MAX) return malformed(id);
  if (LEASE_ID.test(id)) {
    const lease = live?.lease(id)?.row ?? (await facts.lease(id));
    return lease === undefined ? unknown(id) : { kind: "lease", lease };
  }
  const digest = parseDigest(id);
  if (digest !== undefined) return taskLike(digest.slice("sha256:".length), id, facts);
  const lower = id.toLowerCase();
  if (parseTaskId(lower) !== undefined) return wholeTask(lower, facts, live);
  if (TRACE_ID.test(lower)) {
    const [download, ...others] = await facts.downloadsOfTrace(lower, TRACE_DOWNLOADS_MAX);
    if (download !== undefined) return { kind: "download", download, others };
  }
  if (parseRequestId(id) === undefined) return malformed(id);
  const download = await facts.download(id);
  if (download !== undefined) return { kind: "download", download, others: [] };
  const waiting = await waitingDownload(id, facts, live);
  if (waiting !== undefined) return waiting;
  if (HEX.test(lower) && lower.length >= TASK_PREFIX_LENGTH_MIN) return taskLike(lower, id, facts);
  return unknown(id);
}

/** A download that is not over is no fact yet; what can be told is its task. */
async function waitingDownload(
  id: string,
  facts: StoredFacts,
  live: LiveView | undefined,
): Promise<Subject | undefined> {
  const request = live?.request(id);
  if (request === undefined) return undefined;
  const { taskId, hostId } = request;
  const task = live?.task(taskId, 0)?.task ?? (await facts.task(taskId));
  const note = `download ${id} is under way at ${hostId}: this is its task`;
  return task === undefined ? undefined : { kind: "task", task, notes: [note] };
}

async function taskOfUrl(url: string, facts: StoredFacts): Promise<Subject | Refusal> {
  if (!URL.canParse(url)) return malformed(url);
  const asked = new URL(url);
  const path = `${asked.origin}${asked.pathname}`;
  const tasks = await facts.tasksOfUrl(path, TASKS_OF_PATH_MAX);
  if (tasks.length === 0) return unknown(path);
  const cut = `only the newest ${TASKS_OF_PATH_MAX} contents of this path were looked at`;
  const isCut = tasks.length === TASKS_OF_PATH_MAX;
  const choice = chooseTask(asked, tasks);
  switch (choice.kind) {
    case "chosen":
      return { ...choice, kind: "task", notes: isCut ? [...choice.notes, cut] : choice.notes };
    case "ambiguous":
      return refusedUrl("ambiguous", [
        `${choice.tasks.length} contents were had under ${path}, and with which query is not kept: ${idsText(choice.tasks)}`,
        ...(isCut ? [cut] : []),
      ]);
    case "none":
      return refusedUrl("unknown", [
        `no content of ${path} is known with this query; with another: ${idsText(tasks)}`,
        ...(isCut ? [cut] : []),
      ]);
    default:
      return choice satisfies never;
  }
}

function refusedUrl(code: Refusal["code"], parts: readonly string[]): Refusal {
  return { kind: "refused", code, message: parts.join("; ") };
}

async function wholeTask(
  taskId: string,
  facts: StoredFacts,
  live: LiveView | undefined,
): Promise<Subject | Refusal> {
  const task = live?.task(taskId, 0)?.task ?? (await facts.task(taskId));
  // 64 hex digits may as well be the content's digest.
  return task === undefined ? taskLike(taskId, taskId, facts) : { kind: "task", task };
}

async function taskLike(
  digits: string,
  asked: string,
  facts: StoredFacts,
): Promise<Subject | Refusal> {
  const [task, second] = await facts.tasksLike(digits, AMBIGUOUS);
  if (task === undefined) return unknown(asked);
  if (second === undefined) return { kind: "task", task };
  return {
    kind: "refused",
    code: "ambiguous",
    message: `more than one task begins with ${asked}, or has this content: ${task.taskId}, ${second.taskId}`,
  };
}

function malformed(id: string): Refusal {
  const shown = id.length > ID_LENGTH_MAX ? `${id.slice(0, ID_LENGTH_MAX)}…` : id;
  return {
    kind: "refused",
    code: "malformed",
    message: `"${shown}" is no id of a lease (1-2-3), a task (at least ${TASK_PREFIX_LENGTH_MIN} hex digits), a download, a trace, a digest (sha256:…), or a URL`,
  };
}

function unknown(id: string): Refusal {
  return {
    kind: "refused",
    code: "unknown",
    message: `no lease, task, download or trace ${id} is known`,
  };
}
