import type { IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { type Digest, parseDigest } from "@lacewing/contracts/ids.ts";
import { z } from "zod";
import type { ForetoldContent } from "../../app/ports.ts";
import { redirectedUrl } from "../../app/redirected-url.ts";
import { mayBeCredential } from "../../core/credentials.ts";
import {
  endToEndHeaders,
  type HeaderList,
  headerOf,
  withoutHeaders,
} from "../../core/http-headers.ts";
import type { Rule } from "../../core/rules.ts";

/** What a batch answer offers for download: one object and the request that its client is about to make. */
export interface OfferedObject {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly href: URL;
  /** Headers that the server wants with the request. */
  readonly headers: HeaderList;
}

/** A batch of 100 objects with long signed URLs is about 200 KB; servers allow up to 1,000 objects. */
const BATCH_BYTES_MAX = 4 * 2 ** 20;
const OFFERED_OBJECT_COUNT_MAX = 1000;
const HREF_LENGTH_MAX = 8192;

const MEDIA_TYPE = "application/vnd.git-lfs+json";

const answerSchema = z.object({ objects: z.array(z.unknown()).max(OFFERED_OBJECT_COUNT_MAX) });
const objectSchema = z.object({
  oid: z.string(),
  size: z.number().int().min(0),
  actions: z.object({
    download: z.object({
      href: z.string().max(HREF_LENGTH_MAX),
      header: z.record(z.string(), z.string()).optional(),
    }),
  }),
});

/** Whether a request is one of Git LFS for many objects at once (docs/api/batch.md of git-lfs). */
export function isLfsBatch(request: IncomingMessage, path: string): boolean {
  return (
    request.method === "POST" &&
    /\/objects\/batch(?:\?|$)/.test(path) &&
    (request.headers.accept ?? "").startsWith(MEDIA_TYPE)
  );
}

/**
 * Reads a batch answer along while it is relayed. Anything unexpected offers nothing: the relay is not touched, and the client's
 * requests are answered without having been foretold.
 */
export function readBatchAnswer(
  answer: IncomingMessage,
  offered: (objects: readonly OfferedObject[]) => void,
): void {
  const type = answer.headers["content-type"] ?? "";
  const encoding = answer.headers["content-encoding"] ?? "identity";
  if (answer.statusCode !== 200 || !type.startsWith(MEDIA_TYPE)) return;
  if (encoding !== "identity" && encoding !== "gzip") return;
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  answer.on("data", (chunk: Uint8Array) => {
    bytes += chunk.length;
    if (bytes <= BATCH_BYTES_MAX) chunks.push(chunk);
  });
  answer.once("end", () => {
    if (bytes > BATCH_BYTES_MAX) return;
    const body = Buffer.concat(chunks);
    if (encoding === "identity") {
      offered(objectsOf(body));
      return;
    }
    promisify(gunzip)(body, { maxOutputLength: BATCH_BYTES_MAX }).then(
      (plain) => offered(objectsOf(plain)),
      () => undefined,
    );
  });
}

/** What a client shows to the server that answers its batch, and again to the same server for each object. */
const CREDENTIALS: ReadonlySet<string> = new Set(["authorization", "cookie"]);
/** Not the answering server's to say. */
const FRAMING: ReadonlySet<string> = new Set(["host", "content-length", "range", "expect"]);

/**
 * What a client that asked for a batch is about to ask for. Only a server that offers its own objects says by that that the client
 * may have them: anybody can put another's URL in an answer, or one of his own that a rule redirects to another's. And only to the
 * credentials that are sent with the objects too: what else earned the answer, in the batch's URL or in a header of the server's
 * own, is not shown there.
 */
export function foretoldContent(
  object: OfferedObject,
  asked: {
    /** The one of the object's URL. */
    readonly rule: Rule;
    /** Where the batch was asked for, by the rule of its own. */
    readonly batchUrl: URL;
    /** The batch request's headers, as they went to the server. */
    readonly sent: HeaderList;
  },
): ForetoldContent {
  const { rule, batchUrl, sent } = asked;
  const url = redirectedUrl(object.href, rule);
  const isOwn = object.href.origin === batchUrl.origin;
  const isHere = isOwn && url.origin === batchUrl.origin;
  const isAuthorized = headerOf(object.headers, "authorization") !== undefined;
  const credentials =
    isOwn && !isAuthorized ? sent.filter(([name]) => CREDENTIALS.has(name.toLowerCase())) : [];
  // Some servers answer nobody who does not say what it is.
  const hasAgent = headerOf(object.headers, "user-agent") !== undefined;
  const agent = hasAgent ? [] : sent.filter(([name]) => name.toLowerCase() === "user-agent");
  return {
    url,
    rule,
    headers: [...object.headers, ...credentials, ...agent],
    digest: object.digest,
    lengthBytes: object.sizeBytes,
    isGranted: isHere && batchUrl.search === "" && sent.every(([name]) => isKnown(name)),
  };
}

function isKnown(name: string): boolean {
  return CREDENTIALS.has(name.toLowerCase()) || !mayBeCredential(name);
}

function objectsOf(body: Uint8Array): readonly OfferedObject[] {
  const parsed = answerSchema.safeParse(jsonOf(body));
  if (!parsed.success) return [];
  return parsed.data.objects.flatMap((entry) => {
    const object = objectSchema.safeParse(entry);
    const offered = object.success ? offeredObject(object.data) : undefined;
    return offered === undefined ? [] : [offered];
  });
}

function offeredObject(object: z.infer<typeof objectSchema>): OfferedObject | undefined {
  const { href, header } = object.actions.download;
  const digest = parseDigest(`sha256:${object.oid}`);
  const url = URL.parse(href);
  if (digest === undefined || url === null) return undefined;
  if (url.protocol !== "http:" && url.protocol !== "https:") return undefined;
  const headers = withoutHeaders(endToEndHeaders(Object.entries(header ?? {})), FRAMING);
  return { digest, sizeBytes: object.size, href: url, headers };
}

function jsonOf(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.length).toString("utf8"));
  } catch {
    return undefined;
  }
}
