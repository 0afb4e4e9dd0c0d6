import type {
  ListHostsRequest,
  ListHostsResponse,
  ListPeersRequest,
  ListPeersResponse,
  ListTasksRequest,
  ListTasksResponse,
} from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { parseHostId, parseTaskId } from "@lacewing/contracts/ids.ts";
import type { TaskRow } from "../ports.ts";
import { PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX } from "./limits.ts";
import { hostMessage, peerMessage, taskMessage } from "./messages.ts";
import type { LiveView, Page, StoredFacts } from "./ports.ts";
import type { Refusal } from "./subject.ts";

/** Pages through the graph. A page's token is the key of its last row, so that rows that come and go shift nothing. */

const TASK_STATES = [
  "active",
  "verified",
  "retired",
] as const satisfies readonly TaskRow["state"][];

export async function listHosts(
  request: ListHostsRequest,
  facts: StoredFacts,
  live: LiveView | undefined,
): Promise<ListHostsResponse | Refusal> {
  const page = pageOf(request, (token) => parseHostId(token) !== undefined);
  if ("kind" in page) return page;
  const rows = await facts.hosts(page);
  return {
    hosts: rows.map((row) => hostMessage(row, live?.hostLoad(row.hostId))),
    nextPageToken: tokenAfter(page, rows.length, rows.at(-1)?.hostId),
  };
}

export async function listTasks(
  request: ListTasksRequest,
  facts: StoredFacts,
): Promise<ListTasksResponse | Refusal> {
  const page = pageOf(request, (token) => parseTaskId(token) !== undefined);
  if ("kind" in page) return page;
  const state = TASK_STATES.find((known) => known === request.state);
  if (state === undefined && request.state !== "")
    return malformed(`state "${request.state.slice(0, 32)}" is none of ${TASK_STATES.join(", ")}`);
  const rows = await facts.tasks(page, state);
  return {
    tasks: rows.map(taskMessage),
    nextPageToken: tokenAfter(page, rows.length, rows.at(-1)?.taskId),
  };
}

export async function listPeers(
  request: ListPeersRequest,
  facts: StoredFacts,
): Promise<ListPeersResponse | Refusal> {
  const page = pageOf(request, (token) => parseHostId(token) !== undefined);
  if ("kind" in page) return page;
  const taskId = parseTaskId(request.taskId);
  if (taskId === undefined) return malformed("the task id is not 64 lower-case hex digits");
  const task = await facts.task(taskId);
  if (task === undefined)
    return { kind: "refused", code: "unknown", message: `no task ${taskId} is known` };
  const rows = await facts.peers(taskId, page);
  return {
    task: taskMessage(task),
    peers: rows.map(peerMessage),
    nextPageToken: tokenAfter(page, rows.length, rows.at(-1)?.hostId),
  };
}

function pageOf(
  request: { readonly pageSize: number; readonly pageToken: string },
  isToken: (token: string) => boolean,
): Page | Refusal {
  const { pageSize, pageToken } = request;
  if (pageSize > PAGE_SIZE_MAX)
    return malformed(`a page has at most ${PAGE_SIZE_MAX} rows, not ${pageSize}`);
  if (pageToken !== "" && !isToken(pageToken))
    return malformed("the page token is not of an answer before");
  return { after: pageToken, limit: pageSize === 0 ? PAGE_SIZE_DEFAULT : pageSize };
}

/** A full page may be followed by another; an empty one ends it. */
function tokenAfter(page: Page, rowCount: number, lastKey: string | undefined): string {
  return rowCount < page.limit ? "" : (lastKey ?? "");
}

function malformed(message: string): Refusal {
  return { kind: "refused", code: "malformed", message };
}
