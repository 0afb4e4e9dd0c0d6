import { z } from "zod";
import { httpGet } from "./http.ts";
import { lfsUrlOf } from "./lfs-paths.ts";

const batchAnswer = z.object({
  objects: z.array(z.object({ actions: z.object({ download: z.object({ href: z.string() }) }) })),
});

/** A freshly signed download URL, as a Git LFS client gets it from the batch API. */
export async function signedUrlOf(
  origin: { readonly port: number },
  oid: string,
  hostName: "127.0.0.1" | "lfs.localhost" = "127.0.0.1",
): Promise<string> {
  const answer = await httpGet(`${lfsUrlOf(origin, "any")}/objects/batch`, {
    method: "POST",
    headers: { host: `${hostName}:${origin.port}` },
    body: JSON.stringify({ operation: "download", objects: [{ oid, size: 0 }] }),
  });
  const [object] = batchAnswer.parse(JSON.parse(answer.body.toString())).objects;
  if (object === undefined) throw new RangeError(`the origin does not know ${oid}`);
  return object.actions.download.href;
}
