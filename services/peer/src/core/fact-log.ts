/** One line of the fact log: what happened to a download. */
export type FactLine =
  | { readonly kind: "begin" | "end"; readonly id: string; readonly fact: string }
  | { readonly kind: "receipt"; readonly id: string };

/** What a fact log says, taken together. */
export interface FoldedFacts {
  /** Ended and not receipted: encoded facts by download id, oldest first. */
  readonly ended: ReadonlyMap<string, string>;
  /** Begun and never ended: the process that wrote them is gone. */
  readonly begun: ReadonlyMap<string, string>;
}

/** `<kind> <download id> <encoded fact> <checksum>`, one line each; a line whose checksum is wrong was torn and is skipped. */
export function formatLine(line: FactLine, checksum: (text: string) => string): string {
  const text =
    line.kind === "receipt" ? `receipt ${line.id} -` : `${line.kind} ${line.id} ${line.fact}`;
  return `${text} ${checksum(text)}\n`;
}

/** Reads a whole log. */
export function foldLines(log: string, checksum: (text: string) => string): FoldedFacts {
  const ended = new Map<string, string>();
  const begun = new Map<string, string>();
  for (const line of log.split("\n")) {
    const at = line.lastIndexOf(" ");
    const text = line.slice(0, at);
    if (at < 0 || checksum(text) !== line.slice(at + 1)) continue;
    const [kind, id = ""] = text.split(" ", 2);
    // The fact may hold spaces of its own.
    const fact = text.slice(`${kind} ${id} `.length);
    // A log that was written anew may know the end already when the beginning arrives.
    if (kind === "begin" && !ended.has(id)) begun.set(id, fact);
    if (kind === "end") ended.set(id, fact);
    if (kind === "end" || kind === "receipt") begun.delete(id);
    if (kind === "receipt") ended.delete(id);
  }
  return { ended, begun };
}
