import type { IncomingMessage } from "node:http";
import { promisify } from "node:util";
import { gunzip, inflate } from "node:zlib";
import { z } from "zod";
import {
  ExportTraceServiceRequest,
  ExportTraceServiceResponse,
} from "@lacewing/contracts/gen/lacewing/otlp/v1/trace.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Counter } from "@lacewing/observability/metrics.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import type { SocketAddress } from "@lacewing/runtime/settings.ts";
import type { SpanWriter } from "../../app/span-writer.ts";
import { spansOf, type DecodedSpans } from "../../core/decode-spans.ts";
import {
  jsonAnswer,
  listen,
  readBody,
  RequestError,
  type Answer,
  type ListeningServer,
} from "./http.ts";
import { requestOfJson } from "./otlp-json.ts";

/** When a sender that found no room should come back: the writer needs about this long for a full buffer. */
const RETRY_AFTER_S = 5;
const PROTOBUF = "application/x-protobuf";
const JSON_TYPE = "application/json";

export interface OtlpServerOptions {
  readonly address: SocketAddress;
  readonly writer: SpanWriter;
  readonly bodyBytesMax: number;
  /** Counts spans with `outcome` accepted or rejected. */
  readonly counter: Counter;
  readonly log: Log;
}

/**
 * OTLP/HTTP for traces (opentelemetry-proto docs/specification.md): 200 with what was refused, 400 for a body that is no such
 * message, 413 and 415, and 503 with Retry-After while there is no room.
 */
export function listenOtlp(options: OtlpServerOptions): Promise<ListeningServer> {
  return listen(
    options.address,
    (request) => handle(request, options),
    (error) => {
      if (error instanceof RequestError) return statusAnswer(error.status, error.message);
      options.log.error("otlp request failed", { error });
      return statusAnswer(500, "internal error");
    },
    options.log,
  );
}

async function handle(request: IncomingMessage, options: OtlpServerOptions): Promise<Answer> {
  const path = (request.url ?? "").replace(/\?.*$/s, "");
  if (path !== "/v1/traces") {
    throw new RequestError(
      404,
      `no such path: traces go to POST /v1/traces, logs and metrics are not kept`,
    );
  }
  if (request.method !== "POST") {
    return { ...statusAnswer(405, "traces go to POST /v1/traces"), headers: { allow: "POST" } };
  }
  const type = (request.headers["content-type"] ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
  if (type !== PROTOBUF && type !== JSON_TYPE) {
    throw new RequestError(415, `content-type "${type}" is neither ${PROTOBUF} nor ${JSON_TYPE}`);
  }
  const body = await decompressed(
    request,
    await readBody(request, options.bodyBytesMax),
    options.bodyBytesMax,
  );
  const decoded = decode(body, type);
  if (!options.writer.accept(decoded.spans)) {
    const answer = statusAnswer(503, "Postgres is slow or away and the buffer is full");
    return { ...answer, headers: { ...answer.headers, "retry-after": String(RETRY_AFTER_S) } };
  }
  options.counter.add(decoded.spans.length, { outcome: "accepted" });
  options.counter.add(decoded.rejectedCount, { outcome: "rejected" });
  return accepted(decoded, type);
}

async function decompressed(
  request: IncomingMessage,
  body: Buffer,
  bytesMax: number,
): Promise<Uint8Array> {
  const encoding = (request.headers["content-encoding"] ?? "identity").toLowerCase();
  if (encoding === "identity" || encoding === "") return body;
  if (encoding !== "gzip" && encoding !== "deflate") {
    throw new RequestError(415, `content-encoding "${encoding}" is neither gzip nor deflate`);
  }
  try {
    return await promisify(encoding === "gzip" ? gunzip : inflate)(body, {
      maxOutputLength: bytesMax,
    });
  } catch (error) {
    const isTooLong =
      error instanceof Error && "code" in error && error.code === "ERR_BUFFER_TOO_LARGE";
    if (isTooLong)
      throw new RequestError(413, `the body is longer than ${bytesMax} bytes when unpacked`);
    throw new RequestError(400, `the body is not ${encoding}: ${messageOf(error)}`);
  }
}

function decode(body: Uint8Array, type: string): DecodedSpans {
  try {
    return spansOf(
      type === JSON_TYPE
        ? requestOfJson(new TextDecoder("utf-8", { fatal: true }).decode(body))
        : ExportTraceServiceRequest.decode(body),
    );
  } catch (error) {
    // Includes a RangeError: lists nested so deeply that the stack ends are garbage too.
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    throw new RequestError(400, `the body is no OTLP trace request: ${reason}`);
  }
}

function accepted(decoded: DecodedSpans, type: string): Answer {
  const partialSuccess =
    decoded.rejectedCount === 0
      ? undefined
      : {
          rejectedSpans: String(decoded.rejectedCount),
          errorMessage: decoded.rejectedReason ?? "",
        };
  if (type === JSON_TYPE)
    return jsonAnswer(200, partialSuccess === undefined ? {} : { partialSuccess });
  return {
    status: 200,
    headers: { "content-type": PROTOBUF },
    body: ExportTraceServiceResponse.encode({ partialSuccess }).finish(),
  };
}

/** Longer reasons are cut: they may quote what was sent. */
const MESSAGE_LENGTH_MAX = 1000;

/** A google.rpc.Status in JSON: readable in a sender's log, whatever it sent. */
function statusAnswer(status: number, message: string): Answer {
  return jsonAnswer(status, { code: status, message: message.slice(0, MESSAGE_LENGTH_MAX) });
}
