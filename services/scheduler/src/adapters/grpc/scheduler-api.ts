import {
  type handleUnaryCall,
  Metadata,
  type sendUnaryData,
  type ServiceError,
  status,
} from "@grpc/grpc-js";
import type { SchedulerServer } from "@lacewing/contracts/gen/lacewing/scheduler/v1/scheduler.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { messageOf, PortError } from "@lacewing/runtime/errors.ts";
import type { Explainer } from "../../app/explain/explainer.ts";
import { listHosts, listPeers, listTasks } from "../../app/explain/lists.ts";
import type { LiveView, StoredFacts } from "../../app/explain/ports.ts";
import type { Refusal } from "../../app/explain/subject.ts";

export interface SchedulerApiParts {
  readonly facts: StoredFacts;
  /** Undefined while this scheduler does not decide. */
  readonly live: () => LiveView | undefined;
  readonly explainer: Explainer;
}

/** Questions answered at once: each may read tens of thousands of messages, and deciding shares the thread. */
const CALLS_AT_ONCE_MAX = 4;

/** The API's calls, open to answer as soon as their parts are there. */
export class SchedulerApi {
  readonly #log: Log;
  #parts: SchedulerApiParts | undefined;
  #callCount = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  /** From now on calls are answered; before, they are told to come again. */
  open(parts: SchedulerApiParts): void {
    this.#parts = parts;
  }

  /** What a gRPC server serves. */
  get service(): SchedulerServer {
    return {
      explain: this.#unary("Explain", ({ explainer }, { id }) => explainer.explain(id)),
      listHosts: this.#unary("ListHosts", (parts, request) =>
        listHosts(request, parts.facts, parts.live()),
      ),
      listTasks: this.#unary("ListTasks", (parts, request) => listTasks(request, parts.facts)),
      listPeers: this.#unary("ListPeers", (parts, request) => listPeers(request, parts.facts)),
    };
  }

  #unary<Request, Response extends object>(
    name: string,
    answer: (parts: SchedulerApiParts, request: Request) => Promise<Response | Refusal>,
  ): handleUnaryCall<Request, Response> {
    const reply = async (request: Request, callback: sendUnaryData<Response>): Promise<void> => {
      const response = await this.#answer(request, answer).catch((error: unknown) => {
        const failure = failureOf(error);
        if (failure.code === status.INTERNAL)
          this.#log.error("call failed", { call: name, error, message: messageOf(error) });
        return failure;
      });
      if (response instanceof Error) callback(response);
      else if (isRefusal(response)) callback(refusalError(response));
      else callback(null, response);
    };
    return ({ request }, callback) => void reply(request, callback);
  }

  async #answer<Request, Response>(
    request: Request,
    answer: (parts: SchedulerApiParts, request: Request) => Promise<Response>,
  ): Promise<Response> {
    if (this.#parts === undefined)
      throw new PortError("starting", "the scheduler is starting", { retryable: true });
    if (this.#callCount >= CALLS_AT_ONCE_MAX) {
      throw new PortError("busy", `${CALLS_AT_ONCE_MAX} questions are being answered already`, {
        retryable: true,
      });
    }
    this.#callCount++;
    try {
      return await answer(this.#parts, request);
    } finally {
      this.#callCount--;
    }
  }
}

function isRefusal(answer: object): answer is Refusal {
  return "kind" in answer && answer.kind === "refused";
}

const REFUSAL_STATUS = {
  malformed: status.INVALID_ARGUMENT,
  unknown: status.NOT_FOUND,
  ambiguous: status.FAILED_PRECONDITION,
} as const satisfies Record<Refusal["code"], status>;

function refusalError(refusal: Refusal): ServiceError {
  return serviceError(REFUSAL_STATUS[refusal.code], refusal.message);
}

function failureOf(error: unknown): Error & ServiceError {
  if (!(error instanceof PortError))
    return serviceError(status.INTERNAL, "the scheduler failed to answer; its log says why");
  if (error.code === "busy") return serviceError(status.RESOURCE_EXHAUSTED, error.message);
  return serviceError(
    error.retryable ? status.UNAVAILABLE : status.FAILED_PRECONDITION,
    error.message,
  );
}

function serviceError(code: status, details: string): Error & ServiceError {
  return Object.assign(new Error(details), { code, details, metadata: new Metadata() });
}
