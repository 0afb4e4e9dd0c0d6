import { setTimeout as sleep } from "node:timers/promises";
import { jetstream } from "@nats-io/jetstream";
import { connect } from "@nats-io/transport-node";
import { trafficMessages } from "../support/scheduler-traffic.ts";

/**
 * Other hosts, in a process of their own, at a steady pace: `scheduler-load.ts <nats url> <hosts> <messages a second>`. Says "steady" when
 * every host is announced and the pace begins, and to any message answers how many messages a second it has sent since then. Ends with
 * its parent.
 */
const [url = "", hosts = "1000", rate = "5000"] = process.argv.slice(2);
const hostCount = Number(hosts);
const perMs = Number(rate) / 1000;
const TASK_COUNT = 64;
const STEP_MS = 2;
/** Messages under way at once. */
const WINDOW = 512;
const PUBLISH_TIMEOUT_MS = 30_000;

const connection = await connect({ servers: url });
const client = jetstream(connection);
const open = new Set<Promise<void>>();
let isOver = false;
process.once("disconnect", () => {
  isOver = true;
});

const traffic = { hostCount, taskCount: TASK_COUNT, messageCount: Infinity };
const messages = trafficMessages({ ...traffic, pieceCount: 1024, factsPerMessage: 1 });
for (let count = 0; count < hostCount + TASK_COUNT; count++) await publishNext();
await Promise.all(open);

const startedAtMs = performance.now();
let sentCount = 0;
process.on("message", () => {
  process.send?.((sentCount / (performance.now() - startedAtMs)) * 1000);
});
process.send?.("steady");
while (!isOver) {
  const dueCount = (performance.now() - startedAtMs) * perMs;
  while (sentCount < dueCount && !isOver) {
    await publishNext();
    sentCount++;
  }
  await sleep(STEP_MS);
}
await Promise.all(open);
await connection.close();

async function publishNext(): Promise<void> {
  const next = messages.next();
  if (next.done === true) throw new Error("traffic without end has ended");
  const { subject, data, messageId } = next.value;
  const publish: Promise<void> = client
    .publish(subject, data, { msgID: messageId, timeout: PUBLISH_TIMEOUT_MS })
    .then(() => {
      open.delete(publish);
    });
  open.add(publish);
  if (open.size >= WINDOW) await Promise.race(open);
}
