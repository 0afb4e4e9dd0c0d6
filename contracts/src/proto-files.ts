/** Where the protos of services lie that tell about themselves by gRPC reflection. */

/** The folder that imports in protos are relative to. */
export const PROTO_ROOT = new URL("../proto/", import.meta.url);
/** Relative to {@link PROTO_ROOT}. */
export const SCHEDULER_PROTO = "lacewing/scheduler/v1/scheduler.proto";
