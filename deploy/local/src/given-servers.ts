import { randomUUID } from "node:crypto";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { connectNats } from "@lacewing/runtime/nats.ts";
import { LocalError } from "./local-error.ts";

type Environment = Readonly<Record<string, string | undefined>>;

/** A server that is there lets a client in at once, also across a data centre. */
const CONNECT_TIMEOUT_MS = 5_000;

interface Address {
  readonly variable: string;
  readonly schemes: readonly string[];
  /** Several joined by commas. */
  readonly isList?: true;
  /** A database may be reached by a socket that the query names. */
  readonly needsHost: boolean;
  readonly what: string;
  readonly example: string;
}

const ADDRESSES: readonly Address[] = [
  {
    variable: "LACEWING_NATS_URL",
    schemes: ["nats:", "tls:"],
    isList: true,
    needsHost: true,
    what: "the URL of a NATS server",
    example: "nats://user:password@host:4222 (or tls://…; several are joined by commas)",
  },
  {
    variable: "LACEWING_DATABASE_URL",
    schemes: ["postgres:", "postgresql:", "socket:"],
    needsHost: false,
    what: "the URL of a PostgreSQL database",
    example: "postgres://user:password@host:5432/database",
  },
  {
    variable: "OTEL_EXPORTER_OTLP_ENDPOINT",
    schemes: ["http:", "https:"],
    needsHost: true,
    what: "the base URL of an OTLP receiver over HTTP",
    example: "http://host:4318",
  },
];

/**
 * Looks at the addresses of servers that the user gave, before anything is started. Their values are not shown: they may hold passwords.
 *
 * @throws {LocalError} naming the first variable that is no such address, and what it should look like.
 */
export function checkAddresses(env: Environment): void {
  for (const address of ADDRESSES) {
    const value = env[address.variable];
    if (!value) continue;
    const urls = address.isList === true ? value.split(",") : [value];
    if (!urls.every((url) => isAddress(url.trim(), address))) {
      throw new LocalError(
        `${address.variable} is not ${address.what}`,
        `It should look like ${address.example}. Nothing was started.`,
      );
    }
  }
}

function isAddress(text: string, { schemes, needsHost }: Address): boolean {
  if (!URL.canParse(text)) return false;
  const { protocol, hostname } = new URL(text);
  return schemes.includes(protocol) && (!needsHost || hostname !== "");
}

/**
 * Connects to the NATS that the user gave, once: the services would wait for it without a word.
 *
 * @throws {LocalError} when none of its servers lets us in.
 */
export async function reachNats(url: string): Promise<void> {
  try {
    const connection = await connectNats({
      url,
      name: "lacewing",
      inboxPrefix: `_INBOX_lacewing_${randomUUID()}`,
      firstConnectTimeoutMs: CONNECT_TIMEOUT_MS,
    });
    await connection.close();
  } catch (error) {
    const servers = url.split(",").map((text) => new URL(text.trim()).host);
    throw new LocalError(
      `cannot connect to NATS at ${servers.join(", ")}: ${messageOf(error) || "no answer"}`,
      "Is it running, and are the address, user and password (LACEWING_NATS_URL, if you gave it) right?",
      { cause: error },
    );
  }
}
