/**
 * Members of numbered groups, each in one group at most: added, taken out and drawn at random in O(1). Members are the ordinals of
 * a swarm's peers.
 */
export class Groups {
  readonly #lists: number[][] = [];
  /** Of each member: its place in its group's list plus 1; 0 when it is in none. */
  #places = new Uint32Array(16);

  sizeOf(group: number): number {
    return this.#lists[group]?.length ?? 0;
  }

  at(group: number, place: number): number {
    return this.#lists[group]?.[place] ?? -1;
  }

  has(member: number): boolean {
    return (this.#places[member] ?? 0) > 0;
  }

  /** Has it in the group, or in none. */
  put(group: number, member: number, isIn: boolean): void {
    if (isIn) this.add(group, member);
    else this.delete(group, member);
  }

  /** Does nothing when it is in the group already. */
  add(group: number, member: number): void {
    if (this.has(member)) return;
    while (this.#lists.length <= group) this.#lists.push([]);
    if (member >= this.#places.length) {
      const grown = new Uint32Array(Math.max(member + 1, this.#places.length * 2));
      grown.set(this.#places);
      this.#places = grown;
    }
    this.#places[member] = this.#lists[group]?.push(member) ?? 0;
  }

  /** Does nothing when it is in no group. `group` is the one that it was added to. */
  delete(group: number, member: number): void {
    const place = this.#places[member] ?? 0;
    const list = this.#lists[group];
    if (place === 0 || list === undefined) return;
    const last = list.pop();
    if (last !== undefined && last !== member) {
      list[place - 1] = last;
      this.#places[last] = place;
    }
    this.#places[member] = 0;
  }
}
