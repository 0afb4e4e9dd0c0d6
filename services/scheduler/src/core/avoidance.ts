/** That a child leaves a parent alone that failed it. */
export interface Avoidance {
  untilMs: number;
  failureCount: number;
  /** Whether the parent never answered properly, so that its copy is no copy for this peer. */
  isDiscounted: boolean;
}
