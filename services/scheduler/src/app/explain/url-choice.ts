import { hash } from "node:crypto";
import { taskIdOf } from "@lacewing/contracts/ids.ts";
import { canonicalQuery, identifyingParams } from "@lacewing/contracts/query-filters.ts";
import { type QueryParam, queryParamsOf, type UrlParts } from "@lacewing/contracts/url-parts.ts";
import { QUERIES_TRIED_MAX, TASKS_OF_URL_MAX } from "./limits.ts";
import type { TaskFacts } from "./ports.ts";
import { countText } from "./text.ts";

/** Which of the contents of a path a URL means. */
export type UrlChoice =
  | { readonly kind: "chosen"; readonly task: TaskFacts; readonly notes: readonly string[] }
  /** Each may have been had under this query. */
  | { readonly kind: "ambiguous"; readonly tasks: readonly TaskFacts[] }
  /** All were had under other queries. */
  | { readonly kind: "none" };

/**
 * The parameters of the URL that a task was had under; `other` for a task of another query; `unsaid` when that cannot be
 * told, as for content that is named by its digest.
 */
type NamedBy = readonly QueryParam[] | "other" | "unsaid";

interface Candidate {
  readonly task: TaskFacts;
  readonly by: NamedBy;
}

/**
 * Finds the task that a URL means. A stored URL has no query, as no list of names tells a secret for sure; but the id of a
 * task that is not named by a digest is made of the whole URL, so that each query can be tried.
 *
 * @param tasks of the URL's path, the newest first.
 */
export function chooseTask(asked: UrlParts, tasks: readonly TaskFacts[]): UrlChoice {
  const params = identifyingParams(asked, []);
  const tried = queriesToTry(params, QUERIES_TRIED_MAX / Math.max(1, tasks.length));
  const candidates = tasks.map((task) => ({ task, by: namedBy(task, tried) }));
  return params.length === 0
    ? chooseByPath(candidates, asked.search !== "")
    : chooseByQuery(candidates, params);
}

/** Up to {@link TASKS_OF_URL_MAX} ids, and how many more there are. */
export function idsText(tasks: readonly TaskFacts[]): string {
  const ids = tasks.slice(0, TASKS_OF_URL_MAX).map(({ taskId }) => taskId);
  const more = tasks.length - ids.length;
  return `${ids.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

/** Of a URL without a query, or whose query only says who may read: the path is all that its user can know. */
function chooseByPath(candidates: readonly Candidate[], hasSignature: boolean): UrlChoice {
  const fitting = candidates.filter(({ by }) => by !== "other");
  const pool = fitting.length > 0 ? fitting : candidates;
  const [first] = pool;
  if (first === undefined) return { kind: "none" };
  const isProven = typeof first.by !== "string";
  const isAlone = candidates.length === 1 && first.by === "unsaid" && !hasSignature;
  const beside = candidates.filter((candidate) => !pool.includes(candidate));
  return chosen(pool, [
    ...(isProven || isAlone ? [] : [pathNote(candidates, first)]),
    ...(beside.length === 0
      ? []
      : [`under the same path with a query: ${idsText(beside.map(({ task }) => task))}`]),
  ]);
}

/** Of a URL whose query may be part of what names the content. */
function chooseByQuery(candidates: readonly Candidate[], params: readonly QueryParam[]): UrlChoice {
  const matchCount = ({ by }: Candidate) => (typeof by === "string" ? 0 : by.length);
  const best = Math.max(0, ...candidates.map(matchCount));
  if (best > 0) {
    const pool = candidates.filter((candidate) => matchCount(candidate) === best);
    const ignored = ignoredNames(params, pool[0]?.by ?? "other");
    return chosen(pool, ignored === "" ? [] : [`found without the query's ${ignored}`]);
  }
  const pool = candidates.filter(({ by }) => by !== "other");
  const [first] = pool;
  if (first === undefined) return { kind: "none" };
  if (pool.length > 1 && pool.some(({ by }) => by === "unsaid"))
    return { kind: "ambiguous", tasks: pool.map(({ task }) => task) };
  return chosen(pool, [pathNote(candidates, first)]);
}

function chosen(pool: readonly Candidate[], notes: readonly string[]): UrlChoice {
  const [first, ...older] = pool.map(({ task }) => task);
  if (first === undefined) return { kind: "none" };
  const olderNote = `the newest content of this URL; older: ${idsText(older)}`;
  return { kind: "chosen", task: first, notes: older.length === 0 ? notes : [olderNote, ...notes] };
}

function pathNote(candidates: readonly Candidate[], { by }: Candidate): string {
  const query =
    typeof by === "string"
      ? "the query that it was had under is not kept"
      : "it was had without this query";
  return `only the path matched, of ${countText(candidates.length, "content")}: ${query}`;
}

/** Names only: values may be secrets. */
function ignoredNames(params: readonly QueryParam[], by: NamedBy): string {
  const matched = new Set(typeof by === "string" ? [] : by.map(({ text }) => text));
  const ignored = params.filter(({ text }) => !matched.has(text)).map(({ name }) => name);
  return [...new Set(ignored)].join(", ");
}

/** What a task may have been named by. */
interface TriedQueries {
  readonly params: readonly QueryParam[];
  readonly queries: readonly { readonly params: readonly QueryParam[]; readonly text: string }[];
  /** Whether these are all: then a task that none of them names has another query. */
  readonly isComplete: boolean;
}

/** Rules of hosts may leave out more parameters than are always left out: any of them may be missing. */
function queriesToTry(params: readonly QueryParam[], countMax: number): TriedQueries {
  const isComplete = 2 ** params.length <= countMax;
  const subsets = isComplete
    ? Array.from({ length: 2 ** params.length }, (_, mask) =>
        params.filter((_param, index) => (mask & (1 << index)) !== 0),
      )
    : [params, []];
  const queries = subsets.map((subset) => ({ params: subset, text: canonicalQuery(subset) }));
  return { params, queries, isComplete };
}

function namedBy(task: TaskFacts, { params, queries, isComplete }: TriedQueries): NamedBy {
  const queryStart = task.url.indexOf("?");
  if (queryStart >= 0) {
    const stored = queryParamsOf({ search: task.url.slice(queryStart) });
    const texts = new Set(params.map(({ text }) => text));
    return stored.every(({ text }) => texts.has(text)) ? stored : "other";
  }
  if (task.anchor !== "" || task.etag === "") return "unsaid";
  const found = queries.find(({ text }) => isNamedBy(task, `${task.url}${text}`));
  return found?.params ?? (isComplete ? "other" : "unsaid");
}

function isNamedBy({ taskId, sharingDomain, etag }: TaskFacts, canonicalUrl: string): boolean {
  return taskIdOf(sharingDomain, ["url", canonicalUrl, etag], sha256) === taskId;
}

function sha256(text: string): string {
  return hash("sha256", text);
}
