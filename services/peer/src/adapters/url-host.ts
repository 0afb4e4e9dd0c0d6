/**
 * A host as a parsed URL has it: `127.1` and `0x7f.0.0.1` lead to the same address as `127.0.0.1`, and lists of hosts name one
 * way to write it. @returns `undefined` when the text is no host.
 */
export function urlHostOf(text: string): string | undefined {
  const url = URL.parse(`http://${text}/`);
  // Whatever else was in the text is elsewhere in the URL, or, as the port that everybody has, nowhere.
  const isAlone = !/[:@/?#]/.test(text.replace(/^\[[^\]]*\]/, ""));
  return isAlone ? url?.hostname : undefined;
}
