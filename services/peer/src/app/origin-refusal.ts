import type { OriginRefusal, OriginResponse } from "./ports.ts";

/** Of a refusal's own text so much is handed on: servers say in some lines of XML or JSON what is wrong. */
const REFUSAL_BODY_BYTES_MAX = 64 * 1024;

/** Credentials are asked for or not enough, or the client is to go elsewhere by itself. */
const REFUSALS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308, 401, 403]);

/** What an answer says to its client, when it refuses it; its body is read then, as far as it is short. */
export async function refusalOf(response: OriginResponse): Promise<OriginRefusal | undefined> {
  const { status, headers, bodyLength = Infinity } = response;
  if (!REFUSALS.has(status)) return undefined;
  const chunks: Uint8Array[] = [];
  try {
    if (bodyLength <= REFUSAL_BODY_BYTES_MAX)
      // A chunk is good until the one after the next is asked for.
      for await (const chunk of response.body) chunks.push(Buffer.from(chunk));
  } catch {
    // The refusal counts, not its text.
    chunks.length = 0;
  }
  return { status, headers, body: Buffer.concat(chunks) };
}
