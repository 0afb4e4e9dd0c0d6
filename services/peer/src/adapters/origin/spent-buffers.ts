import type { ClientRequest } from "node:http";

/**
 * Gives the memory of bytes back that nobody will look at again, when they have it for themselves. What waits for the collector
 * counts: beyond some 64 MB V8 marks the whole heap, thirty times for a gigabyte read in small buffers, at twice the CPU time.
 */
export function giveBack(bytes: Uint8Array): void {
  const { buffer, byteOffset, byteLength } = bytes;
  if (byteLength === 0 || byteOffset !== 0 || byteLength !== buffer.byteLength) return;
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/**
 * Has what the connection reads given back once the parser, which copies what it hands on, has taken it apart. Not for a request
 * whose connection may be used without the parser afterwards: an upgrade, a tunnel.
 */
export function giveBackParsed(request: ClientRequest): void {
  request.once("socket", (socket) => {
    socket.on("data", giveBack);
    // Whoever has the connection next gets a parser behind it, or reads the bytes itself.
    request.once("close", () => socket.off("data", giveBack));
  });
}
