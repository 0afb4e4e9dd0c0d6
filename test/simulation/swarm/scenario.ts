/** What a simulation is given. Bytes, milliseconds and bytes per millisecond (= kB/s) throughout. */
export interface Scenario {
  readonly name: string;
  readonly title: string;
  readonly prngSeed: number;
  readonly tasks: readonly TaskSpec[];
  readonly hosts: readonly HostSpec[];
  readonly zones: readonly ZoneSpec[];
  readonly origin: OriginSpec;
  readonly network: NetworkSpec;
  readonly control: ControlSpec;
  readonly schedulerCrashes: readonly { readonly atMs: number; readonly downMs: number }[];
  /** The simulation is given up at this time. */
  readonly untilMs: number;
  /** Every decision and event is kept, so that the state can be folded anew. */
  readonly isLogged: boolean;
  /** Figures the bounds know nothing of: hosts come and go, content is many. */
  readonly isSteady: boolean;
}

export interface TaskSpec {
  readonly taskId: string;
  readonly lengthBytes: number;
  readonly pieceBytes: number;
}

export interface HostSpec {
  readonly hostId: string;
  readonly kind: "normal" | "seed";
  readonly idc: string;
  readonly location: string;
  readonly upBytesPerMs: number;
  readonly downBytesPerMs: number;
  /** Leases served at once; more are refused. */
  readonly uploadSlots: number;
  readonly canReadOrigin: boolean;
  /** What its clients ask for, and when. */
  readonly wants: readonly { readonly task: number; readonly atMs: number }[];
  /** Leaves in order so long after its last download is complete. */
  readonly lingerMs: number | undefined;
  readonly faults: readonly HostFault[];
}

export type HostFault =
  /** The process ends at this time; others notice at once when they read from it. It may come back with what it holds. */
  | { readonly kind: "dies"; readonly atMs: number; readonly backAtMs: number | undefined }
  /** Nothing leaves it between these times; nobody is told. */
  | { readonly kind: "stalls"; readonly atMs: number; readonly untilMs: number }
  /** Its pieces do not have their digest. */
  | { readonly kind: "corrupts" }
  /** It says at this time that it holds all of the first content. */
  | { readonly kind: "lies"; readonly atMs: number }
  /** It refuses this share of the reads for want of slots. */
  | { readonly kind: "refuses"; readonly share: number };

export interface ZoneSpec {
  readonly idc: string;
  readonly ingressBytesPerMs: number;
  readonly egressBytesPerMs: number;
}

export interface OriginSpec {
  readonly upBytesPerMs: number;
  /** Refuses from this time on. */
  readonly downFromMs: number | undefined;
  /** False: it sends the whole content or nothing. */
  readonly hasRanges?: boolean;
  /** Refuses as soon as every piece of the first content has arrived at some host. */
  readonly isDownWhenOut?: boolean;
}

export interface NetworkSpec {
  /** One way, between any two hosts. */
  readonly latencyMs: number;
  /** Pieces that an uploader sends at the same time; others wait for their turn. */
  readonly servingMax: number;
  /** A sender is held up by its receivers' links too, as by TCP, and sends all pieces at the same time. For a few hosts: slow. */
  readonly isCoupled?: boolean;
  /** Content bytes per millisecond between a rack and the rest of its zone, each way; undefined: no limit. */
  readonly rackBytesPerMs: number | undefined;
}

export interface ControlSpec {
  /** One way, between a host and the scheduler. */
  readonly latencyMs: number;
  /** Added, uniformly, in either direction. */
  readonly jitterMs: number;
  /** Shares of messages, in either direction. */
  readonly lost: number;
  readonly duplicated: number;
  /** Arrives up to ten latencies late, after what was sent later. */
  readonly reordered: number;
  /** A host packs what it has to say for so long. */
  readonly packMs: number;
  /** A decision is in the log after so long; until then its slice decides nothing more. */
  readonly appendMs: number;
}

const MIB = 2 ** 20;
/** 1 Gbit/s. */
export const GIGABIT = 125_000;

export const NETWORK: NetworkSpec = { latencyMs: 0.25, servingMax: 2, rackBytesPerMs: undefined };

/** A broker in the same data centre, and the packing time of the real peer. */
export const CONTROL: ControlSpec = {
  latencyMs: 0.5,
  jitterMs: 0.2,
  lost: 0,
  duplicated: 0,
  reordered: 0,
  packMs: 25,
  appendMs: 1,
};

/** 16 MiB: what content of 4 GiB is cut into. */
export const PIECE_BYTES = 16 * MIB;

export function taskOf(pieceCount: number, number = 7, pieceBytes = PIECE_BYTES): TaskSpec {
  const head = (number % 64).toString(16).padStart(2, "0");
  const taskId = head + number.toString(16).padStart(62, "0");
  return { taskId, lengthBytes: pieceCount * pieceBytes, pieceBytes };
}

export function hostOf(number: number, spec: Partial<HostSpec> = {}): HostSpec {
  return {
    hostId: `h${number}`,
    kind: "normal",
    idc: "z0",
    location: "",
    upBytesPerMs: GIGABIT,
    downBytesPerMs: GIGABIT,
    uploadSlots: 16,
    canReadOrigin: true,
    wants: [{ task: 0, atMs: 0 }],
    lingerMs: undefined,
    faults: [],
    ...spec,
  };
}

/** One zone, no faults, an origin as fast as any host. */
export function scenarioOf(
  spec: Pick<Scenario, "name" | "title" | "tasks" | "hosts"> & Partial<Scenario>,
): Scenario {
  return {
    prngSeed: 1,
    zones: [],
    origin: { upBytesPerMs: GIGABIT, downFromMs: undefined },
    network: NETWORK,
    control: CONTROL,
    schedulerCrashes: [],
    untilMs: 3_600_000,
    isLogged: false,
    isSteady: false,
    ...spec,
  };
}

export function pieceCountOfTask(task: TaskSpec): number {
  return Math.ceil(task.lengthBytes / task.pieceBytes);
}
