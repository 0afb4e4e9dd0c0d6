import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import type { Log } from "@lacewing/observability/log.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import type { AttachedRequest } from "./attached-requests.ts";
import type { Background } from "./background.ts";
import type { FetchTracer } from "./fetch-tracer.ts";
import type { Paces } from "./pace.ts";
import type { PieceArrivals } from "./piece-arrivals.ts";
import type { PieceClient, StoredTask } from "./ports.ts";
import type { PoisonedTasks } from "./poisoned-tasks.ts";
import type { SchedulerLink } from "./scheduler-link.ts";

/** Services that every download shares. */
export interface DownloadServices {
  readonly link: SchedulerLink;
  readonly pieceClient: PieceClient;
  /** Told of every piece that comes to be held. */
  readonly arrivals: PieceArrivals;
  readonly clock: Clock;
  readonly log: Log;
  readonly tracer: FetchTracer;
  /** Default: as fast as it goes. */
  readonly paces?: Paces;
  /** In [0, 1). */
  readonly random: () => number;
  /** Signs a token for reading a task of `pieceCount` pieces from a parent without a lease. */
  readonly selfToken: (parentHostId: string, taskId: string, pieceCount: number) => string;
  readonly poisoned: PoisonedTasks;
  readonly background: Background;
  /** Told of each first lease of the origin: a seed host may be able to read on when its client is gone. */
  readonly delegate?: (lease: Lease, task: StoredTask, request: AttachedRequest) => void;
  /** Copies of which others have another content by the same name: nobody is told of them, or asked for them. */
  readonly apart: WeakSet<StoredTask>;
  /** Gives up every byte of a copy; what was made of the task since stays. */
  readonly forget: (stored: StoredTask) => void;
}

/** What downloads need of others; the rest comes from their registry. */
export type SharedServices = Omit<DownloadServices, "forget" | "apart">;
