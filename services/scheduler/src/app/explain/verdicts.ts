import { formatBytes, formatDuration } from "@lacewing/runtime/figures.ts";
import type {
  Download,
  Lease,
  Task,
  TaskStory,
  Traffic,
} from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import { readReason } from "./reasons.ts";
import { countText, joinRanges, listText, namesText, percentText, piecesText } from "./text.ts";

/** One sentence that answers "why", from facts alone. */

const NO_TRAFFIC: Traffic = { localPeerBytes: 0, remotePeerBytes: 0, backToSourceBytes: 0 };

/** Why a lease was given, and what became of it. */
export function leaseVerdict(lease: Lease, waitingPieceCount: number): string {
  const from = lease.parentHostId === "" ? "the origin" : lease.parentHostId;
  const what = lease.pieces.length === 0 ? "everything it asked for" : piecesText(lease.pieces);
  const given = `${lease.childHostId} was given ${what} from ${from} (${readReason(lease.reason).why})`;
  return `${given}; ${outcomeText(lease, waitingPieceCount)}.`;
}

/** How a task stands. */
export function taskVerdict(story: TaskStory, task: Task, isLive: boolean): string {
  if (task.state === "retired")
    return `The task takes no more leases: it was retired because of ${readable(task.retiredReason)}.`;
  if (task.forgottenAtMs > 0)
    return `Nobody holds or wants the content any more, since ${new Date(task.forgottenAtMs).toISOString()}.`;
  if (task.lengthBytes === undefined)
    return `Nobody has described the content yet${waitsText(story, isLive)}.`;
  const origin =
    story.totals === undefined || story.totals.leaseCount === 0
      ? ""
      : `; ${story.originCopies.toFixed(2)} copies were read from the origin under leases`;
  const flying =
    story.inFlight.length === 0 ? "" : `; ${countText(story.inFlight.length, "lease")} under way`;
  return `${heldText(story)}${origin}${flying}${waitsText(story, isLive)}.`;
}

/** Where the bytes of a download came from, and why not from somewhere nearer. */
export function downloadVerdict(download: Download, leases: readonly Lease[]): string {
  const sentence = sourcesText(download, leases);
  if (download.outcome === "finished") return `${sentence}.`;
  const error = download.error === "" ? "" : ` (${download.error})`;
  return `The download did not finish: ${OUTCOMES[download.outcome] ?? readable(download.outcome)}${error}; before, ${lowerFirst(sentence)}.`;
}

const OUTCOMES: Readonly<Record<string, string>> = {
  client_gone: "the client broke off",
  origin_error: "the origin answered with an error, which was passed on",
  anchor_mismatch: "the content does not agree with its digest",
  interrupted: "the host stopped",
  failed: "the connection was broken off",
};

function sourcesText(download: Download, leases: readonly Lease[]): string {
  const got = download.delivered ?? NO_TRAFFIC;
  const total = got.localPeerBytes + got.remotePeerBytes + got.backToSourceBytes;
  if (total === 0) return nothingText(download);
  const local = `${percentText(got.localPeerBytes, total)} was held by ${download.hostId} already`;
  const remote = `${percentText(got.remotePeerBytes, total)} came from ${parentsText(leases)}`;
  if (got.backToSourceBytes > 0) {
    const origin = `${percentText(got.backToSourceBytes, total)} came from the origin ${originCause(download, leases)}`;
    const rest = [
      ...(got.remotePeerBytes > 0 ? [remote] : []),
      ...(got.localPeerBytes > 0 ? [local] : []),
    ];
    return rest.length === 0 ? origin : `${origin}; ${rest.join(" and ")}`;
  }
  if (got.remotePeerBytes === 0) return `All of it was held by ${download.hostId} already`;
  return got.localPeerBytes === 0
    ? `All of it came from ${parentsText(leases)}, nothing from the origin`
    : `${remote} and ${local}, nothing from the origin`;
}

/** A host that stopped before its request was known by a task tells of it without figures. */
function nothingText({ taskId, outcome }: Download): string {
  return taskId === "" && outcome === "interrupted"
    ? "The content was not known yet, and what was delivered was not noted"
    : "Nothing was delivered";
}

function parentsText(leases: readonly Lease[]): string {
  const parents = new Set<string>();
  for (const lease of leases) if (lease.parentHostId !== "") parents.add(lease.parentHostId);
  return parents.size === 0 ? "other hosts" : namesText([...parents], "other hosts");
}

/** The reasons of the leases from the origin, those that brought most first. */
function originCause(download: Download, leases: readonly Lease[]): string {
  if (download.taskId === "")
    return "because it was passed through: content without a known length and a validator or digest is not shared";
  const origin = leases.filter((lease) => lease.parentHostId === "");
  const silence = download.isDegraded ? ["because the scheduler did not answer in time"] : [];
  if (origin.length === 0) return silence[0] ?? "without a lease: the host read it by itself";
  const byCause = new Map<Cause, Lease[]>();
  for (const lease of origin) {
    const cause = causeOf(lease);
    byCause.set(cause, [...(byCause.get(cause) ?? []), lease]);
  }
  const causes = [...byCause].toSorted(([, a], [, b]) => bytesOf(b) - bytesOf(a));
  const told = causes.map(([cause, of]) => {
    const pieces = joinRanges(of.flatMap((lease) => lease.pieces));
    return `because ${cause.tell(pieces.length === 0 ? "it" : piecesText(pieces))}`;
  });
  return listText([...told, ...silence]);
}

/** A scheduler's reason for an origin lease as part of a sentence about what was read. */
interface Cause {
  readonly isOf: (lease: Lease) => boolean;
  readonly tell: (what: string) => string;
}

const CAUSES: readonly Cause[] = [
  {
    isOf: (lease) => lease.isOpen,
    tell: (what) => `nobody had described the content yet when it asked for ${what}`,
  },
  {
    isOf: (lease) => lease.reason.includes("no copy held or in flight"),
    tell: (what) => `no copy of ${what} was held or on its way when it asked`,
  },
  {
    isOf: (lease) => lease.reason.includes("no piece arrived for"),
    tell: (what) => `the only copy of ${what} did not arrive`,
  },
];
/** A reason of another version of the scheduler: the leases tell it in its own words. */
const UNNAMED_CAUSE: Cause = {
  isOf: () => true,
  tell: (what) => `the scheduler had it read ${what} there (the leases say why)`,
};

function bytesOf(leases: readonly Lease[]): number {
  return leases.reduce((sum, lease) => sum + lease.bytes, 0);
}

function causeOf(lease: Lease): Cause {
  return CAUSES.find((cause) => cause.isOf(lease)) ?? UNNAMED_CAUSE;
}

function outcomeText(lease: Lease, waitingPieceCount: number): string {
  const brought =
    lease.bytes === 0
      ? "nothing arrived"
      : `${formatBytes(lease.bytes)} arrived in ${formatDuration(lease.transferMs)} (${formatBytes(lease.bytesPerSecond)}/s)`;
  if (lease.outcome === "live")
    return waitingPieceCount > 0
      ? `it is under way, ${countText(waitingPieceCount, "piece")} to come`
      : "it is under way";
  if (lease.outcome === "finished") return lease.bytes === 0 ? "it finished" : brought;
  return `it ended early (${readable(lease.outcome)}), ${brought}`;
}

/** Of hosts that are alive: from others nobody can read. */
function heldText(story: TaskStory): string {
  const count = completeCountOf(story);
  if (count === 0)
    return story.goneHolderCount === 0
      ? "No host holds all of it"
      : "No living host holds all of it";
  return `${countText(count, "host")} of ${story.peerCount - story.gonePeerCount} ${count === 1 ? "holds" : "hold"} all of it`;
}

function completeCountOf({ completePeerCount, goneCompletePeerCount }: TaskStory): number {
  return completePeerCount - goneCompletePeerCount;
}

function waitsText(story: TaskStory, isLive: boolean): string {
  const [first] = story.waits;
  if (!isLive || first === undefined) return "";
  return `; ${countText(story.waits.length, "host")} ${story.waits.length === 1 ? "waits" : "wait"}, ${first.hostId} because ${first.reason}${goneText(story)}`;
}

/** While a living host holds everything, those that are gone keep nobody waiting. */
function goneText(story: TaskStory): string {
  const { holderCount, goneHolderCount } = story;
  if (completeCountOf(story) > 0 || goneHolderCount === 0) return "";
  if (holderCount === 1) return "; the one host that held pieces is gone";
  return goneHolderCount === holderCount
    ? `; all ${countText(holderCount, "host")} that held pieces are gone`
    : `; of ${countText(holderCount, "host")} that held pieces ${goneHolderCount} ${goneHolderCount === 1 ? "is" : "are"} gone`;
}

/** `parent_dropped` → `parent dropped`. */
function readable(word: string): string {
  return word.replaceAll("_", " ");
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
