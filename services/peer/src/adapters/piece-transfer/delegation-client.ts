import { request as httpRequest } from "node:http";
import type { SeedHost } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { Secret } from "@lacewing/observability/secret.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import type { DelegationSender } from "../../app/delegation-offers.ts";
import { DELEGATION_BYTES_MAX, encodeDelegation } from "./delegation-codec.ts";
import { seal } from "./delegation-seal.ts";

/** A seed host that does not answer by then is of no help for this download. */
const ANSWER_MS_MAX = 5_000;
/** A verdict is one word. */
const ANSWER_LENGTH_MAX = 64;

/** Hands delegations to other hosts' piece servers, sealed. */
export function createDelegationClient(options: {
  readonly clusterSecret: Secret;
  readonly clock: Clock;
}): DelegationSender {
  const { clusterSecret, clock } = options;
  return {
    send: async (seed, delegation) => {
      const sealed = seal(clusterSecret, seed.hostId, encodeDelegation(delegation, clock.now()));
      if (sealed.length > DELEGATION_BYTES_MAX) throw notSent("URL and headers are too long");
      return post(seed, sealed);
    },
  };
}

async function post(seed: SeedHost, sealed: Uint8Array): Promise<string> {
  const url = URL.parse(`http://${seed.transferAddress}/v1/delegations`);
  if (url === null) throw notSent("the seed host's address is no host:port");
  return new Promise<string>((resolve, reject) => {
    const signal = AbortSignal.timeout(ANSWER_MS_MAX);
    const headers = { "content-length": sealed.length, connection: "close" };
    const request = httpRequest(url, { method: "POST", headers, signal, agent: false });
    request.once("response", (response) => {
      let text = "";
      response.setEncoding("latin1");
      response.on("data", (part: string) => {
        text = (text + part).slice(0, ANSWER_LENGTH_MAX);
      });
      response.once("end", () => {
        const verdict = text.trim();
        const status = response.statusCode ?? 0;
        if (status < 300) resolve(verdict);
        else reject(notSent(`status ${status}`));
      });
      response.once("error", (error) => reject(notSent(messageOf(error))));
    });
    request.once("error", (error) => reject(notSent(messageOf(error))));
    request.end(sealed);
  });
}

function notSent(why: string): PortError {
  return new PortError("delegation_not_sent", why, { retryable: true });
}
