// @ts-check
/** Decides when a code in the camera's pictures counts as a scan. Does not use the DOM. */

/** @typedef {{rawValue: string, boundingBox: {x: number, y: number, width: number, height: number}}} Seen */

/** So many equal readings in a row count. A single wrong reading is rare; two equal wrong ones were never seen. */
const READINGS = 2;
/** After so many pictures without it, a code is out of view. Fewer do not count: single pictures are blurred. */
const UNSEEN = 5;

/** Takes the reading of one picture after another. Returns each code once for as long as it stays in view. */
export class Sightings {
  #candidate = "";
  #readings = 0;
  #locked = "";
  #unseen = 0;

  /** @param {string | null} text @returns {string | null} The code, when it has been read twice. */
  take(text) {
    this.#unlock(text);
    if (!text || text === this.#locked) return null;
    this.#readings = text === this.#candidate ? this.#readings + 1 : 1;
    this.#candidate = text;
    if (this.#readings < READINGS) return null;
    this.#locked = text;
    this.#candidate = "";
    return text;
  }

  /** @param {string | null} text */
  #unlock(text) {
    this.#unseen = text === this.#locked ? 0 : this.#unseen + 1;
    if (this.#unseen >= UNSEEN) this.#locked = "";
  }
}

/**
 * Returns the code that the person aims at: of several, the one nearest to the middle of the picture.
 * @param {readonly Seen[]} codes @param {{width: number, height: number}} picture
 * @returns {string | null}
 */
export function aimedAt(codes, { width, height }) {
  const distance = (/** @type {Seen} */ { boundingBox: box }) =>
    Math.hypot(box.x + box.width / 2 - width / 2, box.y + box.height / 2 - height / 2);
  return [...codes].sort((one, other) => distance(one) - distance(other))[0]?.rawValue ?? null;
}
