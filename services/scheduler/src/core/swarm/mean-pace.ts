/** Samples that the mean is of, in a swarm of no more hosts; of more hosts, one from each. */
const SAMPLES_MIN = 20;
/** And in the largest swarm. */
const SAMPLES_MAX = 500;

/**
 * How fast the hosts of a swarm send on the average. A fast host ends more leases than others and would count for as many hosts among all
 * that ended; as each sample counts by the time that it took, hosts count alike.
 */
export class MeanPace {
  #bytes = 0;
  #ms = 0;
  #sampleCount = 0;

  /** Bytes per millisecond; 0 before the first sample. */
  get bytesPerMs(): number {
    return this.#ms === 0 ? 0 : this.#bytes / this.#ms;
  }

  /**
   * A host of the swarm, which has so many, sent these bytes at its pace.
   *
   * @param bytesPerMs more than 0
   */
  add(bytes: number, bytesPerMs: number, hostCount: number): void {
    this.#sampleCount++;
    const samplesMax = Math.min(SAMPLES_MAX, Math.max(SAMPLES_MIN, hostCount));
    const weight = 1 / Math.min(this.#sampleCount, samplesMax);
    this.#bytes += weight * (bytes - this.#bytes);
    this.#ms += weight * (bytes / bytesPerMs - this.#ms);
  }
}
