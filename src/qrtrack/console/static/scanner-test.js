// @ts-check
/**
 * Finds out from one scan of the test label how a scanner is set: what is right, and what to change. The texts are not
 * here: each finding has the key of its text.
 */

import { Scanner } from "./scan.js";

/** The text of the test label: characters that the layouts write with different keys, in both cases, without AltGr. */
export const TEST_TEXT = 'qrTrack-Test:0123456789/YyZzAaQqMmWw"';

/** After so many milliseconds without a key the scan is judged, whether Enter or Tab has ended it or not. */
const SETTLED = 1000;
/** Characters per second. Slower keys are typed by hand, or the scanner waits after each character. */
const SLOW = 20;

/**
 * @typedef {object} Finding
 * @property {string} key The key of the text, such as `scanner.suffix.missing`.
 * @property {boolean} isGood Whether the scanner is set right.
 * @property {Record<string, string | number>} params The values for the text.
 */

/** Takes one scan at a time, and calls `onResult` with its findings. */
export class ScannerTest {
  #cancel = () => {};

  /**
   * @param {object} options
   * @param {(findings: Finding[], scan: import("./scan-types.js").Scan) => void} options.onResult
   * @param {string} [options.expected]
   * @param {(callback: () => void, milliseconds: number) => () => void} [options.schedule] As for `Scanner`.
   */
  constructor({ onResult, expected = TEST_TEXT, schedule }) {
    this.onResult = onResult;
    this.expected = expected;
    this.schedule = schedule ?? later;
    /** @type {import("./scan-types.js").Scan | null} */
    this.scan = null;
    this.scanner = new Scanner({
      onScan: (scan) => (this.scan ??= scan),
      isKnown: (text) => text.toLowerCase().split(expected.toLowerCase()).length === 2,
      schedule,
    });
  }

  /** Takes one `keydown` event, as `Scanner.press` does. @param {import("./scan-types.js").Key} key */
  press(key) {
    const isTaken = this.scanner.press(key);
    if (isTaken) {
      this.#cancel();
      this.#cancel = this.schedule(() => this.#tell(), SETTLED);
    }
    return isTaken;
  }

  #tell() {
    const scan = this.scan ?? this.scanner.pending;
    this.scan = null;
    this.scanner.clear();
    if (scan) this.onResult(diagnose(scan, this.expected), scan);
  }
}

/**
 * Returns the findings of a scan of the test label, in the order in which to change the settings.
 * @param {import("./scan-types.js").Scan} scan
 * @param {string} [expected]
 * @returns {Finding[]}
 */
export function diagnose(scan, expected = TEST_TEXT) {
  return [suffix(scan), layout(scan), letters(scan, expected), text(scan, expected), channels(scan), speed(scan)];
}

/** @param {import("./scan-types.js").Scan} scan */
function suffix({ suffix }) {
  if (!suffix) return change("scanner.suffix.missing");
  return good(`scanner.suffix.${suffix.replace(" ", "_")}`);
}

/** @param {import("./scan-types.js").Scan} scan */
function layout({ layout, known, computer, scanner }) {
  if (!known) return change("scanner.layout.unknown");
  if (layout === "right") return good("scanner.layout.right", { keyboard: computer ?? "" });
  return change("scanner.layout.other", { computer: computer ?? "", scanner: scanner ?? "" });
}

/** @param {import("./scan-types.js").Scan} scan @param {string} expected */
function letters({ text, caseInverted, known }, expected) {
  if (caseInverted) return change("scanner.case.inverted");
  return known && !text.includes(expected) ? change("scanner.case.converted") : good("scanner.case.right");
}

/** @param {import("./scan-types.js").Scan} scan @param {string} expected */
function text({ text, symbology }, expected) {
  const [before, after] = text.toLowerCase().split(expected.toLowerCase());
  if (after === undefined) return change("scanner.text.other", { text });
  if (before || after) return change("scanner.text.added", { before, after });
  return symbology ? good("scanner.text.identifier", { symbology }) : good("scanner.text.right");
}

/** @param {import("./scan-types.js").Scan} scan */
function channels({ doubled }) {
  return doubled ? change("scanner.channels.two") : good("scanner.channels.one");
}

/** @param {import("./scan-types.js").Scan} scan */
function speed({ speed }) {
  if (speed === null) return good("scanner.speed.at_once");
  return speed < SLOW ? change("scanner.speed.slow", { speed }) : good("scanner.speed.right", { speed });
}

/** @param {string} key @param {Finding["params"]} [params] @returns {Finding} */
function good(key, params = {}) {
  return { key, isGood: true, params };
}

/** @param {string} key @param {Finding["params"]} [params] @returns {Finding} */
function change(key, params = {}) {
  return { key, isGood: false, params };
}

/** @param {() => void} callback @param {number} milliseconds */
function later(callback, milliseconds) {
  const timer = setTimeout(callback, milliseconds);
  return () => clearTimeout(timer);
}
