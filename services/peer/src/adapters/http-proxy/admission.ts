import type { IncomingMessage } from "node:http";
import type { Log } from "@lacewing/observability/log.ts";
import type { HeaderList } from "../../app/ports.ts";
import { HEADER_COUNT_MAX } from "../../core/http-headers.ts";
import type { Rule } from "../../core/rules.ts";
import type { OriginConnections } from "../origin/origin-connections.ts";
import {
  type AccessProblem,
  accessProblem,
  type ClientAccess,
  networkProblem,
  TOLD_ADDRESS_COUNT_MAX,
} from "./client-access.ts";
import { requestProblem } from "./request-checks.ts";
import type { RequestTarget } from "./request-target.ts";
import { ruledUrl } from "./ruled-url.ts";

export interface AdmissionOptions {
  readonly access: ClientAccess;
  /** Know which origins may be asked. */
  readonly connections: OriginConnections;
  readonly viaName: string;
  readonly log: Log;
}

/** Decides what is refused before anything is done for it: who may come in, with what, and where to. */
export class Admission {
  readonly #options: AdmissionOptions;
  readonly #refusedAddresses = new Set<string>();

  constructor(options: AdmissionOptions) {
    this.#options = options;
  }

  /**
   * What is wrong with a request whatever the origin says, and whether its origin may be asked.
   *
   * @param rule that the target's URL matches.
   */
  problemOf(
    request: IncomingMessage,
    received: HeaderList,
    target: RequestTarget,
    rule: Rule | undefined,
  ): AccessProblem | undefined {
    const malformed = requestProblem({
      headers: received,
      httpVersion: request.httpVersion,
      method: request.method ?? "",
      viaName: this.#options.viaName,
      headerCountMax: HEADER_COUNT_MAX,
    });
    if (malformed !== undefined) return malformed;
    // Whether the port is alive is no secret.
    if (target.kind === "health") return undefined;
    const refused = this.accessProblem(request, received);
    if (refused !== undefined || target.kind !== "origin") return refused;
    const denial = this.#options.connections.problemOf(ruledUrl(target.url, rule));
    return denial === undefined ? undefined : { status: 403, reason: denial };
  }

  /** Where it comes from, who sends it, and how much. */
  accessProblem(request: IncomingMessage, received: HeaderList): AccessProblem | undefined {
    const { access } = this.#options;
    const address = request.socket.remoteAddress ?? "";
    const stranger = networkProblem(access, address);
    if (stranger !== undefined) this.#tellRefused(address);
    return stranger ?? accessProblem(access, request, received);
  }

  /** Once per address: whoever asks again and again should not fill the log. */
  #tellRefused(address: string): void {
    if (this.#refusedAddresses.has(address)) return;
    this.#refusedAddresses.add(address);
    const [oldest] = this.#refusedAddresses;
    if (this.#refusedAddresses.size > TOLD_ADDRESS_COUNT_MAX && oldest !== undefined) {
      this.#refusedAddresses.delete(oldest);
    }
    const fix = "add its network to proxy.clientNetworks if it may use this port";
    this.#options.log.warn("client_refused", { address, fix });
  }
}
