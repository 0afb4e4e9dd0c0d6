/** Which log message a decision stands in. */
export interface DecisionContext {
  readonly slice: number;
  readonly epoch: number;
  readonly decidedAtMs: number;
}
