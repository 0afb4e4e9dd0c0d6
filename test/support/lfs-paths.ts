const OBJECT_PATH = /^\/storage\/([0-9a-f]{2})\/([0-9a-f]{2})\/(\1\2[0-9a-f]{60})$/;
const BATCH_PATH = /^\/.+\/info\/lfs\/objects\/batch$/;

/** `lfs.url` of a repository. Go programs use a proxy for the host name `lfs.localhost`, never for `127.0.0.1`. */
export function lfsUrlOf(
  origin: { readonly port: number },
  repository: string,
  hostName: "127.0.0.1" | "lfs.localhost" = "127.0.0.1",
): string {
  return `http://${hostName}:${origin.port}/${repository}/info/lfs`;
}

/** Where the origin keeps an object; the batch API appends a signature. */
export function storagePathOf(oid: string): string {
  return `/storage/${oid.slice(0, 2)}/${oid.slice(2, 4)}/${oid}`;
}

/** The oid that a storage path names; `undefined` for every other path. */
export function oidOfStoragePath(path: string): string | undefined {
  return OBJECT_PATH.exec(path)?.[3];
}

export function isBatchPath(path: string): boolean {
  return BATCH_PATH.test(path);
}
