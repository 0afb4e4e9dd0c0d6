import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Client } from "pg";
import { z } from "zod";

/** A server that stands still; it goes on when this is disposed of. */
export type FrozenPostgres = Disposable;

const processRow = z.object({ pid: z.number() });

/**
 * Stops the processes of one server: its first one, which then starts no other, and all that it has started.
 *
 * @param dataDirectory of the server that `adminUrl` leads to.
 */
export async function freezeProcesses(
  adminUrl: string,
  dataDirectory: string,
): Promise<FrozenPostgres> {
  const client = new Client({ connectionString: adminUrl });
  client.on("error", () => {});
  await client.connect();
  const stopped: number[] = [];
  const stop = (pid: number): void => {
    process.kill(pid, "SIGSTOP");
    stopped.push(pid);
  };
  try {
    const [first = ""] = (await readFile(join(dataDirectory, "postmaster.pid"), "utf8")).split(
      "\n",
    );
    stop(Number(first));
    const { rows } = await client.query("SELECT pid FROM pg_stat_activity");
    for (const row of rows) stop(processRow.parse(row).pid);
  } catch (error) {
    goOn(stopped);
    throw error;
  } finally {
    // Its own process stands still as well and takes no leave of it.
    client.connection.stream.destroy();
  }
  return { [Symbol.dispose]: () => goOn(stopped) };
}

/** The first process last: until then it buries none of the others, so that every id is still theirs. */
function goOn(pids: number[]): void {
  for (const pid of pids.splice(0).toReversed()) process.kill(pid, "SIGCONT");
}
