import { createHash, timingSafeEqual } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { SettingsError } from "@lacewing/runtime/settings.ts";

/**
 * What is written in plain must not be guessable: there is no limit on attempts, and none is needed for 16 random characters.
 */
const SECRET_LENGTH_MIN = 16;
/** Users of one port; each name is found by one look, so the number costs memory only. */
const USER_COUNT_MAX = 10_000;
/** A longer header is no name and secret, and is not decoded. */
const CREDENTIALS_LENGTH_MAX = 4096;
/** Permission bits of everybody but the owner. */
const OTHERS = 0o077;

/** Who may use the proxy port: names with the SHA-256 of their secrets. */
export class ProxyUsers {
  readonly #digests: ReadonlyMap<string, Uint8Array>;

  /** @param digests by name: SHA-256 of the user's secret. */
  constructor(digests: ReadonlyMap<string, Uint8Array>) {
    this.#digests = digests;
  }

  get count(): number {
    return this.#digests.size;
  }

  /**
   * Whether a `Proxy-Authorization` names a user and its secret (RFC 7617). Takes the same time for an unknown name, a wrong
   * secret and a right one.
   */
  isKnown(proxyAuthorization: string | undefined): boolean {
    const { name, secret } = basicOf(proxyAuthorization);
    const expected = this.#digests.get(name);
    const isEqual = timingSafeEqual(sha256(secret), expected ?? NOBODY);
    return isEqual && expected !== undefined;
  }
}

/**
 * Reads a users file: lines of `name:secret`, or `name:sha256:<hex>` for a secret that is kept as its digest only; empty lines
 * and lines that begin with `#` are left out.
 *
 * @throws {SettingsError} when it cannot be read, can be read by others, or a line is wrong. Names lines, never their text.
 */
export function readProxyUsers(path: string, key: string): ProxyUsers {
  let text: string;
  try {
    const mode = statSync(path).mode;
    if ((mode & OTHERS) !== 0) {
      throw new SettingsError(
        `${key}: ${path} can be read by others than its owner; chmod 600 makes it private`,
      );
    }
    text = readFileSync(path, "utf8");
  } catch (error) {
    if (error instanceof SettingsError) throw error;
    throw new SettingsError(`${key}: cannot read ${path}: ${messageOf(error)}`);
  }
  return parseProxyUsers(text, `${key}: ${path}`);
}

/** The users of a file's text. @throws {SettingsError} naming the line. */
export function parseProxyUsers(text: string, where: string): ProxyUsers {
  const digests = new Map<string, Uint8Array>();
  for (const [index, raw] of text.split("\n").entries()) {
    const line = raw.replace(/\r$/, "");
    if (line.trim() === "" || line.startsWith("#")) continue;
    const at = `${where}, line ${index + 1}`;
    const colon = line.indexOf(":");
    const name = line.slice(0, Math.max(0, colon));
    if (name === "") throw new SettingsError(`${at}: not name:secret or name:sha256:<hex>`);
    if (digests.has(name)) throw new SettingsError(`${at}: a name that was there before`);
    digests.set(name, digestOf(line.slice(colon + 1), at));
  }
  if (digests.size === 0) throw new SettingsError(`${where} names no user: nobody could come in`);
  if (digests.size > USER_COUNT_MAX) {
    throw new SettingsError(`${where} names ${digests.size} users; at most ${USER_COUNT_MAX}`);
  }
  return new ProxyUsers(digests);
}

function digestOf(secret: string, at: string): Uint8Array {
  if (secret.startsWith("sha256:")) {
    const hex = /^sha256:([0-9a-f]{64})$/i.exec(secret)?.[1];
    if (hex === undefined) throw new SettingsError(`${at}: sha256: needs 64 hexadecimal digits`);
    return Buffer.from(hex, "hex");
  }
  if (secret.length < SECRET_LENGTH_MIN) {
    const has = `the secret has ${secret.length} characters`;
    throw new SettingsError(`${at}: ${has}, at least ${SECRET_LENGTH_MIN} are needed`);
  }
  return sha256(secret);
}

/** Name and secret of Basic credentials; both empty for everything else. */
function basicOf(header: string | undefined): { readonly name: string; readonly secret: string } {
  const encoded = /^basic +([A-Za-z0-9+/=_-]+) *$/i.exec(header ?? "")?.[1];
  if (encoded === undefined || encoded.length > CREDENTIALS_LENGTH_MAX) return NO_CREDENTIALS;
  const pair = Buffer.from(encoded, "base64").toString("utf8");
  const colon = pair.indexOf(":");
  return colon < 0 ? NO_CREDENTIALS : { name: pair.slice(0, colon), secret: pair.slice(colon + 1) };
}

function sha256(text: string): Uint8Array {
  return createHash("sha256").update(text).digest();
}

const NO_CREDENTIALS = { name: "", secret: "" } as const;
/** Compared with when nobody has the name. No text has this digest that anybody knows of. */
const NOBODY = new Uint8Array(32);
