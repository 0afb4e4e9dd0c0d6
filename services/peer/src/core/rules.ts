import { urlWithoutQuery, type UrlParts } from "@lacewing/contracts/url-parts.ts";

/** What is done with the requests whose URL matches. */
export interface Rule {
  /** Searched in the URL without user info, query and fragment. */
  readonly regex: RegExp;
  /** Whether a plain-http URL is asked by TLS; "auto" tries TLS first on port 80. An https URL always is. */
  readonly useTls: boolean | "auto";
  /** Authority (`host` or `host:port`) that replaces the URL's own before anything else looks at it. */
  readonly redirect: string | undefined;
  /** Streamed from the origin, without peers or store. */
  readonly direct: boolean;
  /** Query parameters that do not name the content, besides the built-in ones. */
  readonly filteredQueryParams: readonly string[];
  /** `origin`: the origin is asked whether this client may read. `public`: not asked when the content is anchored. */
  readonly access: "origin" | "public";
  /** Milliseconds for which the origin's yes to one credential and path holds. */
  readonly accessTtlMs: number;
  /** What a client gets of held content while the origin cannot be asked. */
  readonly whenOriginDown: "refuse" | "serve";
  /** Name of the sharing domain, when wider or narrower than the origin's authority. */
  readonly share: string | undefined;
  readonly tag: string;
  readonly application: string;
  /** Smaller is more urgent. */
  readonly priority: number;
  /** Whether what a client had begun to get is fetched to its end after the client has left. */
  readonly keepOnAbort: boolean;
  /** Whether a client's part of the content has this host fetch the whole. */
  readonly prefetch: boolean;
}

/** A rule as it is written: only the regex is needed. */
export type RuleSpec = { readonly regex: string } & {
  readonly [Key in Exclude<keyof Rule, "regex">]?: Rule[Key] | undefined;
};

/** The range and default of a rule's priority: `0` first, `6` unless somebody says otherwise. */
export const PRIORITY = { min: 0, max: 9, default: 6 } as const;

/**
 * A client that reads one file in many ranges asks the origin once, and somebody whose access was taken away keeps it for
 * at most this long.
 */
export const ACCESS_TTL_MS_DEFAULT = 30_000;

/** Host names and paths under which hubs keep files of a revision, with up to four levels of owner and kind before it. */
const HUB_FILE = String.raw`^https?://[^/]+/(?:[^/]+/){1,4}resolve/[^/]+/.+`;

/**
 * Content that is large, named by what it is, and often wanted by many: no settings are needed for it. Tried after the
 * user's rules. Whether a name is taken for a digest is decided separately, by `anchorFromUrl`.
 */
export const DEFAULT_RULES: readonly Rule[] = [
  // Git LFS at GitHub.
  String.raw`^https?://github-cloud\.githubusercontent\.com/alambic/media/`,
  // Blobs of the OCI distribution protocol, and the storage that registries redirect to.
  String.raw`/v2/.+/blobs/sha256(?::|%3[Aa])[0-9a-f]{64}$`,
  String.raw`/blobs/sha256/[0-9a-f]{2}/[0-9a-f]{64}/data$`,
  // Model hubs and their mirrors.
  HUB_FILE,
  // LFS storage anywhere: the object id is the last segment; some servers split its first four digits off.
  String.raw`/[0-9a-f]{64}$`,
  String.raw`/[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{60}$`,
].map((regex) => ruleOf({ regex }));

/** A rule with everything that was left out filled in. @throws {SyntaxError} when the regex does not compile. */
export function ruleOf(spec: RuleSpec): Rule {
  return {
    regex: new RegExp(spec.regex),
    useTls: spec.useTls ?? "auto",
    redirect: spec.redirect,
    direct: spec.direct ?? false,
    filteredQueryParams: spec.filteredQueryParams ?? [],
    access: spec.access ?? "origin",
    accessTtlMs: spec.accessTtlMs ?? ACCESS_TTL_MS_DEFAULT,
    whenOriginDown: spec.whenOriginDown ?? "refuse",
    share: spec.share,
    tag: spec.tag ?? "",
    application: spec.application ?? "",
    priority: spec.priority ?? PRIORITY.default,
    keepOnAbort: spec.keepOnAbort ?? false,
    prefetch: spec.prefetch ?? false,
  };
}

/** Why a text is no regular expression, or `undefined`. */
export function regexProblem(regex: string): string | undefined {
  try {
    ruleOf({ regex });
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : "not a regular expression";
  }
}

/** The rules in the order they are tried: the user's own first. */
export function rulesInOrder(userRules: readonly Rule[]): readonly Rule[] {
  return [...userRules, ...DEFAULT_RULES];
}

/** The first rule whose regex is found in the URL without query and fragment. */
export function matchRule(rules: readonly Rule[], url: UrlParts): Rule | undefined {
  const text = urlWithoutQuery(url);
  return rules.find((rule) => rule.regex.test(text));
}
