import type {
  Download,
  DownloadStory,
  Explanation,
  Host,
  Lease,
  LeaseStory,
  PassedOver,
  PieceSpan,
  StoryEvent,
  Task,
  TaskStory,
  Traffic,
} from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import Table from "cli-table3";
import { pieceMap } from "./task-lines.ts";
import { trafficText } from "./traffic-text.ts";
import { formatBytes, formatDuration, percentOf } from "@lacewing/runtime/figures.ts";

/** What `lacewing why` prints: the sentence first, then what it rests on. */

/** Leases in a table: a person reads no more; --json prints all that were told. */
const LEASE_ROWS_MAX = 40;
/** Lines of a story, likewise. */
const STORY_LINES_MAX = 60;
/** Rows of peers, likewise. */
const PEER_ROWS_MAX = 20;
/** Spans of pieces in a line. */
const SPANS_MAX = 6;
const LABEL_WIDTH = 13;

/** @param traceUrlOf the page of a trace; undefined when no trace store is known. */
export function whyLines(
  told: Explanation,
  traceUrlOf: (traceId: string) => string | undefined,
): string {
  const parts = [told.verdict, ...bodyOf(told, traceUrlOf)];
  if (told.notes.length > 0) parts.push(told.notes.map((note) => `Note: ${note}.`).join("\n"));
  return parts.filter((part) => part !== "").join("\n\n");
}

/** For programs: piece maps as base64, everything else as it is. */
export function whyJson(told: Explanation): string {
  return JSON.stringify(told, (_, value: unknown) =>
    isJsonBytes(value) ? Buffer.from(value.data).toString("base64") : value,
  );
}

function bodyOf(
  told: Explanation,
  traceUrlOf: (traceId: string) => string | undefined,
): readonly string[] {
  const { subject } = told;
  if (subject === undefined) return [];
  switch (subject.$case) {
    case "lease":
      return [leaseLines(subject.value, traceUrlOf)];
    case "task":
      return taskParts(subject.value);
    case "download":
      return downloadParts(subject.value, traceUrlOf);
    default:
      return subject satisfies never;
  }
}

function leaseLines(
  story: LeaseStory,
  traceUrlOf: (traceId: string) => string | undefined,
): string {
  const { lease, task, parent, child, position, passedOver, remaining } = story;
  if (lease === undefined) return "";
  const ended =
    lease.endedAtMs === 0
      ? "not yet"
      : `${timeText(lease.endedAtMs)}, after ${formatDuration(lease.endedAtMs - lease.grantedAtMs)}: ${lease.outcome}`;
  return lines([
    ["lease", `${lease.leaseId} (slice ${lease.slice}, epoch ${lease.epoch})`],
    ["task", task === undefined ? lease.taskId : taskText(task)],
    ["to", hostText(lease.childHostId, child)],
    ["from", lease.parentHostId === "" ? "the origin" : hostText(lease.parentHostId, parent)],
    ["pieces", lease.pieces.length === 0 ? "all, not described yet" : spansText(lease.pieces)],
    ["reason", lease.reason],
    ["candidates", `${lease.candidateCount}${passedOverText(passedOver)}`],
    ["granted", timeText(lease.grantedAtMs)],
    ["ended", ended],
    ["to come", remaining.length === 0 ? "" : spansText(remaining)],
    ["brought", broughtText(lease)],
    ["request", lease.requestId || "none: a seed host keeps the content"],
    [
      "rested on",
      position === undefined
        ? ""
        : `event ${position.eventsSequence} of LACEWING_EVENTS (decision ${position.decisionsSequence} of LACEWING_DECISIONS)`,
    ],
    ["trace", lease.traceId === "" ? "" : (traceUrlOf(lease.traceId) ?? lease.traceId)],
  ]);
}

function taskParts(story: TaskStory): readonly string[] {
  const { task, totals } = story;
  if (task === undefined) return [];
  const head = lines([
    ["task", task.taskId],
    ["url", task.url],
    ["anchor", task.anchor || "none: known by its URL and validator"],
    ["size", sizeText(task)],
    ["state", task.retiredReason === "" ? task.state : `${task.state}: ${task.retiredReason}`],
    ["forgotten", task.forgottenAtMs === 0 ? "" : `since ${timeText(task.forgottenAtMs)}`],
    ["hosts", hostsText(story)],
    [
      "leases",
      totals === undefined
        ? ""
        : `${totals.leaseCount} (${totals.failedLeaseCount} failed, ${story.inFlight.length} under way)`,
    ],
    [
      "read",
      totals === undefined
        ? ""
        : `${formatBytes(totals.remotePeerBytes)} from hosts, ${formatBytes(totals.backToSourceBytes)} from the origin (${story.originCopies.toFixed(2)} copies)`,
    ],
  ]);
  return [head, peersText(story, task), waitsText(story), storyLines(story.story)];
}

function downloadParts(
  story: DownloadStory,
  traceUrlOf: (traceId: string) => string | undefined,
): readonly string[] {
  const { download } = story;
  if (download === undefined) return [];
  const head = lines([
    ["download", download.downloadId],
    ["host", download.hostId],
    ["url", download.url],
    ["task", download.taskId || noTaskText(download)],
    ["started", timeText(download.startedAtMs)],
    ["requests", requestsText(download)],
    ["outcome", outcomeText(download)],
    ...figuresOf(download),
    ["trace", download.traceId === "" ? "" : (traceUrlOf(download.traceId) ?? download.traceId)],
  ]);
  return [head, leaseTable(story.leases), storyLines(story.story)];
}

function hostsText(story: TaskStory): string {
  const { peerCount, gonePeerCount, completePeerCount, goneCompletePeerCount } = story;
  const gone = gonePeerCount === 0 ? "" : `, and ${gonePeerCount} that left or went silent`;
  return `${peerCount - gonePeerCount}, of which ${completePeerCount - goneCompletePeerCount} hold all of it${gone}`;
}

function peersText(story: TaskStory, task: Task): string {
  if (story.peers.length === 0) return "";
  const width = Math.max(...story.peers.map((peer) => peer.hostId.length));
  const rows = story.peers.slice(0, PEER_ROWS_MAX).map((peer) => {
    const share = task.pieceCount === 0 ? 0 : percentOf(peer.heldPieceCount, task.pieceCount);
    const map =
      task.pieceCount === 0
        ? ""
        : pieceMap({ pieceCount: task.pieceCount, bitmap: Buffer.from(peer.bitmap) });
    const marks = `${peer.isGone ? " gone" : ""}${peer.isApart ? " apart" : ""}`;
    return `  ${peer.hostId.padEnd(width)} ${`${share} %`.padStart(5)} ${map}${marks}`;
  });
  const more = story.peerCount - rows.length;
  return ["Who holds what:", ...rows, ...(more > 0 ? [`  … and ${more} more`] : [])].join("\n");
}

function waitsText(story: TaskStory): string {
  if (story.waits.length === 0) return "";
  const rows = story.waits.map(
    (wait) =>
      `  ${wait.hostId} (${wait.wantedPieceCount} pieces): ${wait.reason}${passedOverText(wait.passedOver)}`,
  );
  return ["Who waits, and why now:", ...rows].join("\n");
}

function leaseTable(leases: readonly Lease[]): string {
  if (leases.length === 0) return "";
  const table = new Table({
    head: ["lease", "from", "pieces", "brought", "outcome", "why"],
    style: { head: [], border: [] },
  });
  for (const lease of leases.slice(0, LEASE_ROWS_MAX)) {
    table.push([
      lease.leaseId,
      lease.parentHostId || "origin",
      spansText(lease.pieces),
      broughtText(lease),
      lease.outcome,
      lease.reason,
    ]);
  }
  const more = leases.length - LEASE_ROWS_MAX;
  return more > 0 ? `${table.toString()}\n… and ${more} more` : table.toString();
}

function storyLines(story: readonly StoryEvent[]): string {
  const [first] = story;
  if (first === undefined) return "";
  const shown = story.slice(0, STORY_LINES_MAX);
  const rows = shown.map((event) => {
    const after = `+${formatDuration(event.atMs - first.atMs)}`;
    const lease = event.leaseId === "" ? "" : ` [${event.leaseId}]`;
    return `  ${after.padStart(14)}  ${event.kind.padEnd(10)} ${event.text}${lease}`;
  });
  const more = story.length - shown.length;
  return [
    `What happened since ${timeText(first.atMs)}:`,
    ...rows,
    ...(more > 0 ? [`  … and ${more} more; --json prints all`] : []),
  ].join("\n");
}

function lines(rows: readonly (readonly [name: string, value: string])[]): string {
  return rows
    .filter(([, value]) => value !== "")
    .map(([name, value]) => `${name.padEnd(LABEL_WIDTH)}${value}`)
    .join("\n");
}

function taskText(task: Task): string {
  return `${task.taskId}\n${" ".repeat(LABEL_WIDTH)}${task.url} (${sizeText(task)})`;
}

function sizeText(task: Task): string {
  if (task.lengthBytes === undefined) return "not known yet";
  return `${formatBytes(task.lengthBytes)} (${task.lengthBytes} bytes) in ${task.pieceCount} pieces of ${formatBytes(task.pieceLengthBytes)}`;
}

function hostText(hostId: string, host: Host | undefined): string {
  if (host === undefined) return hostId;
  const place = [host.idc, host.location].filter((part) => part !== "").join(" ");
  return `${hostId} (${host.kind}, ${host.state} now, ${host.transferAddress}${place === "" ? "" : `, ${place}`})`;
}

function passedOverText(passedOver: readonly PassedOver[]): string {
  if (passedOver.length === 0) return "";
  const parts = passedOver.map(({ reason, count, hostIds }) => {
    const names = hostIds.length === 0 ? "" : ` (${hostIds.join(", ")})`;
    return `${count} ${reason}${names}`;
  });
  return `; passed over: ${parts.join("; ")}`;
}

function spansText(spans: readonly PieceSpan[]): string {
  const shown = spans
    .slice(0, SPANS_MAX)
    .map(({ start, count }) => (count === 1 ? `${start}` : `${start}–${start + count - 1}`));
  const more = spans.length - shown.length;
  return more > 0 ? `${shown.join(", ")} and ${more} more spans` : shown.join(", ");
}

function broughtText(lease: Lease): string {
  if (lease.bytes === 0) return lease.outcome === "live" ? "nothing yet" : "nothing";
  return `${formatBytes(lease.bytes)} in ${formatDuration(lease.transferMs)} (${formatBytes(lease.bytesPerSecond)}/s)`;
}

function noTaskText({ outcome, requestCount }: Download): string {
  if (requestCount > 1) return "several";
  return outcome === "interrupted"
    ? "not known: the host stopped before it knew or told it"
    : "none: passed through";
}

/** When and how much. A host that was killed had only noted the beginning: its zeros are no figures. */
function figuresOf(download: Download): readonly (readonly [name: string, value: string])[] {
  const { outcome, ttfbMs, costMs, delivered, fetched } = download;
  const isMeasured = costMs > 0 || totalOf(delivered) + totalOf(fetched) > 0;
  if (outcome === "interrupted" && !isMeasured) {
    return [["figures", "not known: the host stopped before it told bytes and times"]];
  }
  return [
    ["first byte", `after ${formatDuration(ttfbMs)}`],
    ["cost", formatDuration(costMs)],
    ["delivered", bytesText(delivered)],
    ["fetched", bytesText(fetched)],
  ];
}

/** Nothing to say of a single one, as nearly all are. */
function requestsText({ requestCount }: Download): string {
  return requestCount <= 1
    ? ""
    : `${requestCount}, summed by a busy host; first byte and cost are of the slowest`;
}

function outcomeText(download: Download): string {
  const answered = download.httpStatus === 0 ? "" : ` (HTTP ${download.httpStatus})`;
  const degraded = download.isDegraded ? ", without the scheduler's help" : "";
  return `${download.outcome}${answered}${degraded}${download.error === "" ? "" : `: ${download.error}`}`;
}

function bytesText(traffic: Traffic | undefined): string {
  if (traffic === undefined) return "";
  const total = totalOf(traffic);
  return total === 0 ? formatBytes(0) : `${formatBytes(total)}: ${trafficText(traffic)}`;
}

function totalOf(traffic: Traffic | undefined): number {
  if (traffic === undefined) return 0;
  return traffic.localPeerBytes + traffic.remotePeerBytes + traffic.backToSourceBytes;
}

function timeText(atMs: number): string {
  return new Date(atMs).toISOString();
}

/** What `Buffer` makes of itself for JSON. */
function isJsonBytes(value: unknown): value is { readonly data: readonly number[] } {
  return (
    typeof value === "object" &&
    value !== null &&
    "type" in value &&
    value.type === "Buffer" &&
    "data" in value &&
    Array.isArray(value.data)
  );
}
