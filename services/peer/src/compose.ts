import { hash } from "node:crypto";
import { join } from "node:path";
import type { Lease } from "@lacewing/contracts/gen/lacewing/assignments/v1/assignments.ts";
import { type HostId, parseBootId } from "@lacewing/contracts/ids.ts";
import type { Log } from "@lacewing/observability/log.ts";
import { createMetricRegistry } from "@lacewing/observability/metrics.ts";
import type { Secret } from "@lacewing/observability/secret.ts";
import { METRIC } from "@lacewing/observability/semconv.ts";
import { createBusyGauge } from "@lacewing/runtime/busy-gauge.ts";
import type { Clock } from "@lacewing/runtime/clock.ts";
import { readClusterSecret } from "@lacewing/runtime/cluster-secret.ts";
import { InvariantViolation } from "@lacewing/runtime/errors.ts";
import type { RunningService } from "@lacewing/runtime/lifecycle.ts";
import { SettingsError } from "@lacewing/runtime/settings.ts";
import { DiskFactJournal } from "./adapters/fact-journal/disk-fact-journal.ts";
import { startPeerApi } from "./adapters/grpc/peer-api.ts";
import { startHttpProxy } from "./adapters/http-proxy/proxy-server.ts";
import { NatsControlPlane } from "./adapters/nats/nats-control-plane.ts";
import { DOWNLOAD_SLOT_LIMITS } from "./adapters/origin/connection-slots.ts";
import { createOriginClient } from "./adapters/origin/origin-client.ts";
import { OriginConnections } from "./adapters/origin/origin-connections.ts";
import type { EvictionLimits } from "./adapters/piece-store/evictor.ts";
import { openPieceStore } from "./adapters/piece-store/piece-store.ts";
import { createDelegationClient } from "./adapters/piece-transfer/delegation-client.ts";
import { DelegationDoor } from "./adapters/piece-transfer/delegation-door.ts";
import { createPieceClient } from "./adapters/piece-transfer/piece-client.ts";
import { startPieceServer } from "./adapters/piece-transfer/piece-server.ts";
import { signSelfToken } from "./adapters/piece-transfer/self-token.ts";
import { Background } from "./app/background.ts";
import { DownloadService } from "./app/download-service.ts";
import { EventOutbox } from "./app/event-outbox.ts";
import { HitTally } from "./app/hit-tally.ts";
import { paceOf } from "./app/pace.ts";
import { FetchTracer } from "./app/fetch-tracer.ts";
import { PieceArrivals } from "./app/piece-arrivals.ts";
import { PoisonedTasks } from "./app/poisoned-tasks.ts";
import type { PieceClient, StoredTask } from "./app/ports.ts";
import { SchedulerLink } from "./app/scheduler-link.ts";
import { TaskRegistry } from "./app/task-registry.ts";
import { DelegationOffers } from "./app/delegation-offers.ts";
import { Delegations } from "./app/delegations.ts";
import type { AttachedRequest } from "./app/attached-requests.ts";
import type { PeerSettings } from "./config.ts";
import { matchRule, ruleOf } from "./core/rules.ts";
import { uploadSlotsOf } from "./core/upload-slots.ts";
import type { PeerFileSettings } from "./rules-config.ts";

/** What waits for the broker at a stop is given up after this long; a later start announces it again. */
const STOP_FLUSH_MS = 2000;

export interface PeerSurroundings {
  readonly settings: PeerSettings;
  readonly file: PeerFileSettings;
  readonly hostId: HostId;
  readonly log: Log;
  readonly clock: Clock;
  /** In [0, 1). */
  readonly random: () => number;
  /** A new UUID. */
  readonly newId: () => string;
}

/** What a host holds, and how other hosts read it. */
async function openStorage({ settings, file, hostId, log, clock }: PeerSurroundings) {
  const dataDir = settings.LACEWING_PEER_DATA_DIR;
  const clusterSecret = readClusterSecret(settings.LACEWING_CLUSTER_SECRET_FILE);
  const metrics = createMetricRegistry();
  const isTaker = file.delegationGuard !== undefined && settings.LACEWING_PEER_KIND === "seed";
  const door = isTaker ? new DelegationDoor({ hostId, clusterSecret, clock, log }) : undefined;
  const store = await openPieceStore({
    dataDir,
    quotaBytes: settings.LACEWING_PEER_QUOTA ?? file.storeQuotaBytes,
    clock,
    log,
    hashWorkers: settings.LACEWING_PEER_HASH_WORKERS,
    eviction: evictionOf(settings),
    scrubRate: settings.LACEWING_PEER_SCRUB_RATE,
  });
  const arrivals = new PieceArrivals();
  const pieceServer = await startPieceServer({
    listen: settings.LACEWING_PEER_TRANSFER_ADDRESS,
    hostId,
    clusterSecret,
    store,
    arrivals,
    clock,
    log,
    isReady: () => true,
    metrics: () => metrics.render(),
    serveBytes: metrics.counter(METRIC.serveBytes),
    uploadSlotCount: slotsOf(settings),
    delegations: door,
    pace: paceOf(settings.LACEWING_PEER_UPLOAD_BYTES_PER_SECOND, clock),
  });
  return { dataDir, clusterSecret, store, arrivals, pieceServer, door };
}

/** Takes what other hosts delegate to this one, when it is a seed host that may. @returns how to end that. */
function openDelegations(
  { file, clock, log, newId }: PeerSurroundings,
  { door, store }: Awaited<ReturnType<typeof openStorage>>,
  registry: TaskRegistry,
): () => void {
  if (door === undefined || file.delegationGuard === undefined) return () => {};
  // Connections of their own: one that a client of this host had opened would lead round the guard.
  const connections = new OriginConnections(file.trust, file.delegationGuard);
  const origin = createOriginClient({ connections, clock });
  const urlProblem = (url: URL): string | undefined => connections.problemOf(url);
  const ruleFor = (url: URL) => matchRule(file.rules, url) ?? ruleOf({ regex: ".*" });
  const delegations = new Delegations({
    store,
    registry,
    origin,
    urlProblem,
    ruleFor,
    sha256,
    clock,
    log,
    newId,
  });
  door.open((delegation) => delegations.accept(delegation));
  return () => {
    delegations.close();
    origin.close();
  };
}

/** Hands to seed hosts what its clients can read, when the operator wants that. */
function delegateBy({ file, hostId, clock, log }: PeerSurroundings, clusterSecret: Secret) {
  if (file.delegationGuard === undefined) return {};
  const sender = createDelegationClient({ clusterSecret, clock });
  const offers = new DelegationOffers({ sender, hostId, log });
  return {
    delegate: (lease: Lease, task: StoredTask, request: AttachedRequest) =>
      offers.offer(lease, task, request),
  };
}

/** @throws {SettingsError} when the watermarks are the wrong way round. */
function evictionOf(settings: PeerSettings): EvictionLimits {
  const high = settings.LACEWING_PEER_HIGH_WATERMARK_PERCENT;
  const low = settings.LACEWING_PEER_LOW_WATERMARK_PERCENT;
  if (low > high) {
    throw new SettingsError(
      `LACEWING_PEER_LOW_WATERMARK_PERCENT is ${low}, above LACEWING_PEER_HIGH_WATERMARK_PERCENT, which is ${high}: lower it`,
    );
  }
  const watermarks = { high: high / 100, low: low / 100 };
  return { watermarks, ttlMs: settings.LACEWING_PEER_UNUSED_TTL_MS };
}

function slotsOf(settings: PeerSettings): number {
  return uploadSlotsOf(
    settings.LACEWING_PEER_UPLOAD_SLOTS,
    settings.LACEWING_PEER_UPLOAD_BYTES_PER_SECOND,
  );
}

/** The conversation with the scheduler; it may be away for as long as it likes. */
async function openLink(
  { settings, hostId, log, clock, random, newId }: PeerSurroundings,
  storage: Awaited<ReturnType<typeof openStorage>>,
) {
  const bootId = parseBootId(newId());
  if (bootId === undefined) throw new InvariantViolation("a new boot id is malformed");
  const { store, pieceServer } = storage;
  const journal = await DiskFactJournal.open(join(storage.dataDir, "facts.log"), log);
  const controlPlane = new NatsControlPlane({ url: settings.LACEWING_NATS_URL, hostId, log });
  const identity = { hostId, bootId };
  const onLoss = (): void => link.announce(true);
  const outbox = new EventOutbox({ controlPlane, identity, clock, log, random, onLoss });
  const facts = {
    kind: settings.LACEWING_PEER_KIND,
    transferAddress: settings.LACEWING_PEER_ADVERTISED_ADDRESS ?? pieceServer.address,
    idc: settings.LACEWING_PEER_IDC,
    location: settings.LACEWING_PEER_LOCATION,
    uploadSlots: slotsOf(settings),
  };
  const link: SchedulerLink = new SchedulerLink({
    controlPlane,
    outbox,
    store,
    journal,
    facts,
    clock,
    log,
  });
  store.onDropped(({ taskId, incarnation, reason }) =>
    link.peerDropped(taskId, incarnation, reason),
  );
  store.onOffered((taskId) => link.offered(taskId));
  return {
    link,
    close: async () => {
      await link.stop(STOP_FLUSH_MS);
      await controlPlane.close();
      await journal.close();
    },
  };
}

/** What all downloads of this host share. */
function sharedServices(
  surroundings: PeerSurroundings,
  { clusterSecret, arrivals }: Awaited<ReturnType<typeof openStorage>>,
  link: SchedulerLink,
  pieceClient: PieceClient,
) {
  const { hostId, settings, clock, log, random } = surroundings;
  return {
    link,
    pieceClient,
    arrivals,
    clock,
    log,
    random,
    tracer: new FetchTracer(hostId, clock),
    poisoned: new PoisonedTasks(clock),
    background: new Background(clock),
    ...delegateBy(surroundings, clusterSecret),
    paces: {
      download: paceOf(settings.LACEWING_PEER_DOWNLOAD_BYTES_PER_SECOND, clock),
      backToSource: paceOf(settings.LACEWING_PEER_BACK_TO_SOURCE_BYTES_PER_SECOND, clock),
    },
    selfToken: (parentHostId: string, taskId: string, pieceCount: number): string =>
      signSelfToken(clusterSecret, clock.now(), {
        childHostId: hostId,
        parentHostId,
        taskId,
        pieceCount,
      }),
  };
}

/** Puts the parts of a peer together and opens its doors; the only place that knows all of them. */
export async function composePeer(surroundings: PeerSurroundings): Promise<RunningService> {
  const { settings, file, hostId, log, clock, newId } = surroundings;
  const storage = await openStorage(surroundings);
  const { store, pieceServer } = storage;
  const { link, close: closeLink } = await openLink(surroundings, storage);
  const pieceClient = createPieceClient();
  const services = sharedServices(surroundings, storage, link, pieceClient);
  const registry = new TaskRegistry(store, services);
  const closeDelegations = openDelegations(surroundings, storage, registry);
  link.start(registry);

  const passedOn = new OriginConnections(file.trust, file.guard);
  const ofDownloads = new OriginConnections(file.trust, file.guard, DOWNLOAD_SLOT_LIMITS);
  const origin = createOriginClient({ connections: ofDownloads, clock });
  const tally = new HitTally({ link, hostId, clock, log, newId });
  const downloads = new DownloadService({
    tally,
    store,
    origin,
    registry,
    services,
    hostId,
    sha256,
    isBusy: createBusyGauge(),
    newId,
  });
  const { rules, connectPorts, access } = file;
  const address = settings.LACEWING_PEER_PROXY_ADDRESS;
  const viaName = `lacewing-${hostId}`;
  const proxy = await startHttpProxy({
    address,
    rules,
    downloads,
    connections: passedOn,
    viaName,
    connectPorts,
    access,
    clientBytesPerSecond: settings.LACEWING_PEER_CLIENT_BYTES_PER_SECOND,
    clock,
    log,
  });
  const socketPath = settings.LACEWING_PEER_API_SOCKET ?? join(storage.dataDir, "api.sock");
  const anyUrl = ruleOf({ regex: ".*" });
  const ruleFor = (url: URL) => matchRule(rules, url) ?? anyUrl;
  const api = await startPeerApi({ socketPath, store, downloads, ruleFor, clock, log });
  return {
    addresses: {
      proxy: `${proxy.address.host}:${proxy.address.port}`,
      transfer: pieceServer.address,
      api: socketPath,
    },
    stop: async () => {
      await Promise.all([proxy.close(), api.close()]);
      closeDelegations();
      tally.close();
      await closeLink();
      await pieceServer.close();
      services.tracer.close();
      pieceClient.close();
      origin.close();
      passedOn.close();
      await store.close();
    },
  };
}

function sha256(text: string): string {
  return hash("sha256", text);
}
