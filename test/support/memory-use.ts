import { readFile } from "node:fs/promises";

/** Resident memory of a process in bytes; 0 when it is gone. */
export async function rssOf(pid: number): Promise<number> {
  const text = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024;
}

/** The most resident memory that a process has while `work` runs, looked at every 100 ms. */
export async function rssMaxOf(pid: number, work: () => Promise<void>): Promise<number> {
  let most = await rssOf(pid);
  const timer = setInterval(() => {
    void rssOf(pid).then((bytes) => {
      most = Math.max(most, bytes);
    });
  }, 100);
  try {
    await work();
  } finally {
    clearInterval(timer);
  }
  return Math.max(most, await rssOf(pid));
}
