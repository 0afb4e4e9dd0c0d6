import { PortError } from "@lacewing/runtime/errors.ts";

/** How a failed exchange with an origin is known inward. */
export type OriginFailureCode =
  /** No connection, or it broke before the head of an answer. */
  | "origin_unreachable"
  /** Too long without a connection, a head or a byte. */
  | "origin_timeout"
  /** As many connections as there may be are in use; nothing was asked. */
  | "origin_busy"
  /** The settings keep this host from asking it. */
  | "origin_denied"
  /** The answer broke off before its end. */
  | "origin_broken_off";

/** An exchange with an origin failed. The message names the origin and never a path's query. */
export class OriginError extends PortError {
  override readonly code: OriginFailureCode;
  constructor(code: OriginFailureCode, message: string, cause?: unknown) {
    super(code, message, { retryable: code !== "origin_denied", cause });
    this.name = "OriginError";
    this.code = code;
  }
}

/** Node's and OpenSSL's words for what a person can do something about. */
const IN_WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset",
  EPIPE: "connection closed",
  ENOTFOUND: "no such host name",
  EAI_AGAIN: "the name server does not answer",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "no route to the network",
  ETIMEDOUT: "connection timed out",
  CERT_HAS_EXPIRED: "its certificate has expired",
  DEPTH_ZERO_SELF_SIGNED_CERT: "its certificate is self-signed; trust it with origin.caFile",
  SELF_SIGNED_CERT_IN_CHAIN: "its certificate chain is not trusted; trust it with origin.caFile",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "its certificate is not trusted; trust it with origin.caFile",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "its certificate is not trusted; trust it with origin.caFile",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name",
};

/** Translates what Node said while an origin was asked; an `OriginError` stays what it is. */
export function originErrorOf(
  thrown: unknown,
  url: Pick<URL, "host">,
  code: OriginFailureCode,
): OriginError {
  if (thrown instanceof OriginError) return thrown;
  const systemCode = codeOf(thrown);
  const what = code === "origin_broken_off" ? "answer broke off" : "cannot reach";
  const isTimeout = systemCode === "ETIMEDOUT";
  return new OriginError(
    isTimeout && code === "origin_unreachable" ? "origin_timeout" : code,
    `${what} ${url.host}: ${IN_WORDS[systemCode] ?? (systemCode === "" ? "connection failed" : systemCode)}`,
    thrown,
  );
}

/** The system's code of an error; of several tried addresses that of the first. */
export function codeOf(thrown: unknown): string {
  if (thrown instanceof AggregateError && !("code" in thrown && thrown.code !== undefined)) {
    return codeOf(thrown.errors[0]);
  }
  return thrown instanceof Error && "code" in thrown && typeof thrown.code === "string"
    ? thrown.code
    : "";
}
