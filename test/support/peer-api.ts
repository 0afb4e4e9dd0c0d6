import { credentials } from "@grpc/grpc-js";
import {
  type ListTasksResponse,
  PeerApiClient,
  type TaskStat,
} from "@lacewing/contracts/gen/lacewing/peer/v1/peer_api.ts";
import type { ClusterPeer } from "./cluster.ts";

/** A peer that does not answer on its own socket within this is stuck. */
const CALL_TIMEOUT_MS = 5_000;

/** Everything a host says it holds. @throws when the peer does not answer. */
export async function listTasks(
  peer: Pick<ClusterPeer, "apiSocket">,
): Promise<readonly TaskStat[]> {
  const client = new PeerApiClient(`unix:${peer.apiSocket}`, credentials.createInsecure());
  try {
    const response = await new Promise<ListTasksResponse>((resolve, reject) => {
      const deadline = new Date(Date.now() + CALL_TIMEOUT_MS);
      client.waitForReady(deadline, (problem) => {
        if (problem !== undefined) return reject(problem);
        client.listTasks({}, (error, answer) => (error === null ? resolve(answer) : reject(error)));
        return undefined;
      });
    });
    return response.tasks;
  } finally {
    client.close();
  }
}

/** What a host holds of a task; `undefined` when it does not know it. */
export async function taskOn(
  peer: Pick<ClusterPeer, "apiSocket">,
  taskId: string,
): Promise<TaskStat | undefined> {
  return (await listTasks(peer)).find((task) => task.taskId === taskId);
}
