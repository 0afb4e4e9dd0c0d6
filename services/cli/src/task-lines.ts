import type { TaskStat } from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import { Bitmap } from "@lacewing/contracts/bitmap.ts";
import { CliError } from "./cli-error.ts";
import { formatAge, formatBytes, percentOf } from "@lacewing/runtime/figures.ts";

/** As many as tell tasks apart and fit a table. */
const ID_PREFIX_LENGTH = 12;
/** A longer URL loses its middle. */
const URL_LENGTH_MAX = 60;
/** Cells of a piece map: fits 80 columns. */
const MAP_CELLS_MAX = 64;

export const LIST_HEAD = ["task", "size", "held", "verified", "url", "last used"] as const;

/** One line of `lacewing ls`. */
export function listRow(task: TaskStat, nowMs: number): string[] {
  return [
    shortId(task.taskId),
    formatBytes(task.lengthBytes),
    `${percentOf(task.heldPieceCount, task.pieceCount)} %`,
    task.isVerified ? "yes" : "no",
    shortUrl(task.url),
    formatAge(task.usedAtMs, nowMs),
  ];
}

/** Enough of a task id to tell it from others. */
export function shortId(taskId: string): string {
  return taskId.slice(0, ID_PREFIX_LENGTH);
}

/** A URL without its query, cut to fit a table. */
export function shortUrl(url: string): string {
  return shortened(withoutQuery(url));
}

/** What `lacewing stat` prints. */
export function statLines(task: TaskStat, nowMs: number): string {
  const rows = [
    ["task", task.taskId],
    ["url", withoutQuery(task.url)],
    ["anchor", task.anchor || "none: held under its URL and validator"],
    ["size", `${formatBytes(task.lengthBytes)} (${task.lengthBytes} bytes)`],
    [
      "pieces",
      `${task.heldPieceCount} of ${task.pieceCount}, ${formatBytes(task.pieceLengthBytes)} each`,
    ],
    ["verified", task.isVerified ? "yes, as a whole" : "each piece, not yet as a whole"],
    ["kept", task.isPinned ? "pinned" : "until its room is needed"],
    ["in use", task.isInUse ? "yes" : "no"],
    ["incarnation", String(task.incarnation)],
    ["created", formatAge(task.createdAtMs, nowMs)],
    ["last used", formatAge(task.usedAtMs, nowMs)],
    ["map", pieceMap(task)],
  ];
  return rows.map(([name = "", value = ""]) => `${name.padEnd(12)}${value}`).join("\n");
}

/** The task for programs: the piece map as base64, everything else as it is. */
export function taskJson(task: TaskStat): object {
  return { ...task, bitmap: Buffer.from(task.bitmap).toString("base64") };
}

/**
 * The one task whose id, or whose content's digest, begins with these hex digits.
 *
 * @throws {CliError} when there is none or more than one.
 */
export function matchDigits(tasks: readonly TaskStat[], digits: string): TaskStat {
  const [first, second] = tasks.filter(
    ({ taskId, anchor }) => taskId.startsWith(digits) || anchor.startsWith(`sha256:${digits}`),
  );
  if (first === undefined)
    throw new CliError(`the host holds no task ${digits}`, "`lacewing ls` shows what it holds.");
  if (second !== undefined)
    throw new CliError(`more than one task begins with ${digits}`, "Give more digits.");
  return first;
}

/** Which parts are held: `█` all of it, `▒` some, `·` none; at most 64 cells. */
export function pieceMap(task: Pick<TaskStat, "pieceCount" | "bitmap">): string {
  const held = new Bitmap(task.pieceCount, task.bitmap);
  const cells = Math.min(MAP_CELLS_MAX, task.pieceCount);
  const starts = Array.from({ length: cells + 1 }, (_, cell) =>
    Math.floor((cell * task.pieceCount) / cells),
  );
  return starts
    .slice(0, -1)
    .map((start, cell) => {
      const end = starts[cell + 1] ?? task.pieceCount;
      let count = 0;
      for (let index = start; index < end; index++) if (held.has(index)) count++;
      return count === 0 ? "·" : count === end - start ? "█" : "▒";
    })
    .join("");
}

/** A query may carry a signature; a person at a screen does not need it. */
function withoutQuery(url: string): string {
  return url.split(/[?#]/, 1)[0] ?? url;
}

function shortened(text: string): string {
  if (text.length <= URL_LENGTH_MAX) return text;
  const half = Math.floor((URL_LENGTH_MAX - 1) / 2);
  return `${text.slice(0, half)}…${text.slice(-half)}`;
}
