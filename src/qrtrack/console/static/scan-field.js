// @ts-check
// A text field in which people write and scan: what a hand scanner types there is read as a scan.

import { Scanner } from "./scan.js";

/** Characters per second. Slower keys come from a person: Tab leaves the field, and no layout is corrected. */
const SLOWEST_SCANNER = 15;

/**
 * Puts the code of each scan into the field, in place of what the keys wrote, and then calls `take`.
 * @param {HTMLInputElement | HTMLTextAreaElement} field
 * @param {() => void} take
 */
export function takeScans(field, take) {
  /** @type {import("./scan-types.js").Scan | null} */
  let scan = null;
  const scanner = new Scanner({ onScan: (newest) => (scan = newest) });
  // After these events, the next keys may be at another place in the field, so they do not continue a scan.
  for (const type of ["focus", "pointerdown", "paste"]) field.addEventListener(type, () => scanner.clear());
  field.addEventListener("keydown", (event) => {
    scan = null;
    const isOfScan = scanner.press(/** @type {KeyboardEvent} */ (event));
    const ended = /** @type {import("./scan-types.js").Scan | null} */ (scan);
    if (!ended) {
      // The LF after a CR.
      if (isOfScan && !scanner.pending && /** @type {KeyboardEvent} */ (event).key === "Enter") event.preventDefault();
      return;
    }
    const end = field.selectionEnd ?? field.value.length;
    const start = end - ended.raw.length;
    const isTyped = (ended.speed ?? Infinity) < SLOWEST_SCANNER && (ended.suffix === "tab" || ended.layout !== "right");
    if (isTyped || field.value.slice(start, end) !== ended.raw) return;
    event.preventDefault();
    field.setRangeText(ended.text, start, end, "end");
    take();
  });
}
