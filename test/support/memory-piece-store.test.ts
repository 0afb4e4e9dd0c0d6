import { pieceStoreContract } from "../contract/piece-store-contract.ts";
import { MemoryPieceStore } from "./memory-piece-store.ts";

pieceStoreContract("piece store in memory", async (quotaBytes) => {
  const store = new MemoryPieceStore({ quotaBytes });
  return { store, close: async () => store.close() };
});
