import type { IncomingMessage, ServerResponse } from "node:http";
import { z } from "zod";
import { storagePathOf } from "./lfs-paths.ts";
import { answerWithoutContent } from "./origin-answer.ts";
import type { FaultSet } from "./origin-fault.ts";
import type { UrlSigner } from "./signed-url.ts";

export const LFS_MEDIA_TYPE = "application/vnd.git-lfs+json";
/** The API's own page size is 100 objects; a request of this size would name tens of thousands. */
const BATCH_BODY_BYTES_MAX = 4 * 2 ** 20;

/** https://github.com/git-lfs/git-lfs/blob/v3.3.0/docs/api/batch.md */
const batchRequestSchema = z.object({
  operation: z.enum(["download", "upload"]),
  transfers: z.array(z.string()).optional(),
  objects: z.array(z.object({ oid: z.string(), size: z.number() })),
});

/** Answers `POST …/info/lfs/objects/batch`: one freshly signed URL per object, on the authority the client used. */
export async function answerBatch(exchange: {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly host: string;
  readonly faults: FaultSet;
  readonly signer: UrlSigner;
  readonly sizeOfObject: (oid: string) => number | undefined;
}): Promise<void> {
  const { request, response, host, signer } = exchange;
  const text = await bodyOf(request);
  if (answerWithoutContent(response, exchange.faults)) return;
  const parsed = batchRequestSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    send(response, 422, { message: "not a batch request" });
    return;
  }
  if (parsed.data.operation === "upload") {
    send(response, 403, { message: "this origin only serves downloads" });
    return;
  }
  const objects = parsed.data.objects.map(({ oid, size }) => {
    if (exchange.sizeOfObject(oid) === undefined) {
      return { oid, size, error: { code: 404, message: "Object does not exist" } };
    }
    const href = `${schemeOf(host)}://${host}${signer.sign({ host, path: storagePathOf(oid) })}`;
    return {
      oid,
      size,
      authenticated: true,
      actions: { download: { href, expires_in: signer.expiresSeconds } },
    };
  });
  send(response, 200, { transfer: "basic", objects, hash_algo: "sha256" });
}

/**
 * As public storage does, links of the named host are https although this origin speaks none: only a client whose links are
 * rewritten to http (`insteadOf`, as in the seed document) gets anything.
 */
function schemeOf(host: string): "http" | "https" {
  return host.startsWith("lfs.localhost") ? "https" : "http";
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": LFS_MEDIA_TYPE }).end(JSON.stringify(body));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request.iterator()) {
    const buffer: unknown = part;
    if (!Buffer.isBuffer(buffer)) throw new TypeError("body is not binary");
    bytes += buffer.length;
    if (bytes > BATCH_BODY_BYTES_MAX) {
      throw new RangeError(`batch request over ${BATCH_BODY_BYTES_MAX} bytes`);
    }
    parts.push(buffer);
  }
  return Buffer.concat(parts).toString();
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
