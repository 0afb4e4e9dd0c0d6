import type { DownloadFinished } from "@lacewing/contracts/gen/lacewing/events/v1/events.ts";
import type { FactJournal } from "@lacewing/peer/app/control-plane.ts";

/** A {@link FactJournal} in memory. */
export class MemoryFactJournal implements FactJournal {
  readonly facts = new Map<string, DownloadFinished>();
  readonly begun = new Set<string>();

  pending(): IterableIterator<DownloadFinished> {
    return this.facts.values();
  }

  begin(fact: DownloadFinished): void {
    this.begun.add(fact.downloadId);
  }

  end(fact: DownloadFinished): void {
    this.begun.delete(fact.downloadId);
    this.facts.set(fact.downloadId, fact);
  }

  receipted(downloadIds: readonly string[]): void {
    for (const id of downloadIds) this.facts.delete(id);
  }

  async close(): Promise<void> {}
}
