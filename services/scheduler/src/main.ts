import { randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { createLog } from "@lacewing/observability/log.ts";
import { startTracing } from "@lacewing/observability/sdk/start-tracing.ts";
import { SERVICE } from "@lacewing/observability/semconv.ts";
import { messageOf } from "@lacewing/runtime/errors.ts";
import { EXIT_CODE, type RunningService, runService } from "@lacewing/runtime/lifecycle.ts";
import { readSettings } from "@lacewing/runtime/settings.ts";
import { compose } from "./compose.ts";
import { SETTINGS } from "./config.ts";
import { boundHeapGrowth } from "./heap-growth.ts";
import { runRebuild } from "./main-rebuild.ts";
import { StoppableStart } from "./stoppable-start.ts";

boundHeapGrowth();
if (process.argv[2] === "rebuild") {
  process.exitCode = await runRebuild(process.env, process.argv.slice(3), Math.random);
} else {
  await runService(start);
}

async function start(): Promise<RunningService> {
  const settings = readSettings(SETTINGS, process.env);
  const ownerId = `${hostname()}:${process.pid}:${randomUUID()}`;
  const log = createLog({ service: SERVICE.scheduler, level: settings.LACEWING_LOG_LEVEL });
  const tracing = startTracing({
    service: SERVICE.scheduler,
    instanceId: ownerId,
    endpoint: settings.OTEL_EXPORTER_OTLP_ENDPOINT,
    log,
  });
  const starting = new StoppableStart(log);
  log.info("scheduler starting", { ownerId });
  const parts = await compose(settings, { ownerId, log, random: Math.random });
  const running = parts.scheduler.run();
  starting.onStop(async () => {
    parts.scheduler.stop();
    await running;
  });
  running.catch((error: unknown) => {
    log.error("scheduler failed", { error, message: messageOf(error) });
    process.exit(EXIT_CODE.crashed);
  });
  const role = await starting.guard(parts.scheduler.isReady);
  starting.done();
  parts.grpc.setServing(true);
  log.info("scheduler started", { grpc: parts.grpc.address, ownerId, role });
  return {
    addresses: { grpc: parts.grpc.address },
    stop: async () => {
      parts.grpc.setServing(false);
      parts.scheduler.stop();
      await running;
      await parts.close();
      await tracing.shutdown();
      log.info("scheduler stopped");
      log.close();
    },
  };
}
