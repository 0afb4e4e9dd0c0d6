import type { Socket } from "node:net";
import { startOrigin, type TestServer } from "./http-proxy-world.ts";

/** An origin that tells users apart by connection, as IIS does with NTLM: whoever ended the handshake on it is its user. */
export interface ConnectionUsersOrigin extends TestServer {
  readonly requests: readonly ConnectionUsersRequest[];
}

interface ConnectionUsersRequest {
  readonly path: string;
  readonly authorization: string;
  /** The same for requests on one connection. */
  readonly connection: number;
  readonly status: number;
}

/** What a member gets of any path. */
export const PRIVATE = "private bytes of a member ".repeat(400);

/** `scheme type1` is challenged, `scheme type3` on the same connection is let in; content is the same for each member. */
export async function startConnectionUsersOrigin(
  scheme: "NTLM" | "Negotiate" = "NTLM",
): Promise<ConnectionUsersOrigin> {
  const requests: ConnectionUsersRequest[] = [];
  const connections: Socket[] = [];
  const steps = new WeakMap<Socket, "challenged" | "member">();
  const origin = await startOrigin((request, response) => {
    const { socket, headers, url = "" } = request;
    if (!connections.includes(socket)) connections.push(socket);
    const authorization = headers.authorization ?? "";
    const answer = (status: number, fields: Record<string, string>, body = ""): void => {
      const connection = connections.indexOf(socket);
      requests.push({ path: url, authorization, connection, status });
      response.writeHead(status, { "content-length": body.length, ...fields }).end(body);
    };
    request.resume().once("end", () => {
      const isLetIn =
        steps.get(socket) === "challenged" && authorization.toLowerCase().endsWith("type3");
      if (isLetIn) steps.set(socket, "member");
      if (steps.get(socket) === "member") answer(200, { etag: '"1"' }, PRIVATE);
      else if (authorization.toLowerCase().endsWith("type1")) {
        steps.set(socket, "challenged");
        answer(401, { "www-authenticate": `${scheme} challenge` });
      } else answer(401, { "www-authenticate": scheme });
    });
  });
  return { ...origin, requests };
}
