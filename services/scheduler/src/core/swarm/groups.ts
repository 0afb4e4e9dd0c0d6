/** A group of a hundred thousand is drawn from all over: its members lie as close together as they can. */
interface List {
  members: Uint32Array;
  size: number;
}

const NO_MEMBERS = new Uint32Array(0);
/** Members that a group makes room for at first. */
const MEMBERS_MIN = 4;

/**
 * Members of numbered groups, each in one group at most: added, taken out and drawn at random in O(1). Members are the ordinals of
 * a swarm's peers.
 */
export class Groups {
  readonly #lists: List[] = [];
  /** Of each member: its place in its group's list plus 1; 0 when it is in none. */
  #places = new Uint32Array(16);

  sizeOf(group: number): number {
    return this.#lists[group]?.size ?? 0;
  }

  at(group: number, place: number): number {
    const list = this.#lists[group];
    return list === undefined || place >= list.size ? -1 : (list.members[place] ?? -1);
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
    while (this.#lists.length <= group) this.#lists.push({ members: NO_MEMBERS, size: 0 });
    if (member >= this.#places.length) {
      const grown = new Uint32Array(Math.max(member + 1, this.#places.length * 2));
      grown.set(this.#places);
      this.#places = grown;
    }
    const list = this.#lists[group];
    if (list !== undefined) this.#places[member] = append(list, member);
  }

  /** Does nothing when it is in no group. `group` is the one that it was added to. */
  delete(group: number, member: number): void {
    const place = this.#places[member] ?? 0;
    const list = this.#lists[group];
    if (place === 0 || list === undefined) return;
    const last = list.members[--list.size] ?? member;
    if (last !== member) {
      list.members[place - 1] = last;
      this.#places[last] = place;
    }
    this.#places[member] = 0;
  }
}

/** @returns the new size. */
function append(list: List, member: number): number {
  if (list.size === list.members.length) {
    const members = new Uint32Array(Math.max(MEMBERS_MIN, list.size * 2));
    members.set(list.members);
    list.members = members;
  }
  list.members[list.size] = member;
  return ++list.size;
}
