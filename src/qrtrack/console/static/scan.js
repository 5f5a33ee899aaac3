// @ts-check
/**
 * Turns keys into scans, without the DOM: a page passes each `keydown` event to `press`, and `onScan` gets whole scans.
 *
 * Enter or Tab ends a scan. A pause does not: Bluetooth scanners pause for 50 ms and more between two characters.
 */

import { DEAD_KEY, placeOf } from "./keyboards.js";
import { bestReading } from "./readings.js";

/** @import { Ignored, Key, Mismatch, Scan, Stroke, Suffix } from "./scan-types.js" */

const GS = "\x1d";
/** Milliseconds without scans after an error. */
const SILENCE = 300;
/** Milliseconds in which a repeated value came over a second channel. */
const REPEAT = 300;
/** Milliseconds between scans of one trigger, and between CR and LF. */
const TRIGGER = 150;

export class Scanner {
  /** @type {Stroke[]} */
  #strokes = [];
  #altDigits = "";
  #startedAt = 0;
  #lastAt = 0;
  #longestGap = 0;
  #endedAt = -Infinity;
  #silentUntil = -Infinity;
  /** @type {Scan | null} */
  #last = null;
  /** @type {Scan | null} The first unknown scan of a trigger, until the trigger is over. */
  #held = null;
  #cancel = () => {};
  #hasCounted = false;
  /** @type {Mismatch | null} */
  #mismatch = null;

  /**
   * @param {object} options
   * @param {(scan: Scan) => void} options.onScan
   * @param {(scan: Scan, why: Ignored) => void} [options.onIgnored]
   * @param {(text: string) => boolean} [options.isKnown] Returns whether the page can use a text. Then only the first
   *   known code of a trigger counts; an unknown one waits for 150 ms.
   * @param {(callback: () => void, milliseconds: number) => () => void} [options.schedule] Returns a canceller.
   */
  constructor({ onScan, onIgnored = () => {}, isKnown, schedule = later }) {
    this.onScan = onScan;
    this.onIgnored = onIgnored;
    this.isKnown = isKnown;
    this.schedule = schedule;
  }

  /** The newest scan that counted. What follows at once changes its `suffix` or `doubled`. */
  get last() {
    return this.#last;
  }

  /** The scan that has begun and not ended, or null. @returns {Scan | null} */
  get pending() {
    return this.#strokes.length ? this.#read(null) : null;
  }

  /**
   * Takes one `keydown` event.
   * @param {Key} key
   * @returns {boolean} Whether the key belongs to a scan: then call `preventDefault`. All other keys are the page's.
   */
  press(key) {
    if (isAltDigit(key)) return this.#addAltDigit(key);
    this.#endAltCode();
    const suffix = suffixOf(key);
    if (suffix) return this.#end(suffix, key.timeStamp);
    if (key.key === "Escape" || key.key === "Backspace") return this.#correct(key.key === "Escape");
    const stroke = strokeOf(key);
    if (!stroke || (stroke.char === " " && !this.#strokes.length)) return false;
    this.#add(stroke, key.timeStamp);
    return true;
  }

  /**
   * Takes text that did not come as keys: pasted, or from a phone whose keys have no names. Each line is a scan.
   * @param {string} text
   * @param {number} [time]
   */
  paste(text, time = performance.now()) {
    for (const line of text.split(/[\r\n\t]+/)) {
      this.clear();
      for (const char of line) this.#add({ char }, time);
      this.#end(null, time);
    }
  }

  /** The page has shown an error: a scan that has begun, or begins within 300 ms, does not count. @param {number} [time] */
  fail(time = performance.now()) {
    this.#silentUntil = time + SILENCE;
  }

  /** Forgets the scan that has begun and not ended. */
  clear() {
    this.#strokes = [];
    this.#altDigits = "";
    this.#longestGap = 0;
  }

  /** @param {Stroke} stroke @param {number} time */
  #add(stroke, time) {
    if (!this.#strokes.length) this.#startedAt = time;
    else this.#longestGap = Math.max(this.#longestGap, time - this.#lastAt);
    this.#strokes.push(stroke);
    this.#lastAt = time;
    if (this.#held) this.#hold(this.#held);
  }

  /** @param {boolean} isAll */
  #correct(isAll) {
    if (!this.#strokes.length) return false;
    if (isAll) this.clear();
    else this.#strokes.pop();
    return true;
  }

  /** @param {Key} key */
  #addAltDigit({ code = "", timeStamp }) {
    this.#altDigits += code.slice(-1);
    this.#lastAt = timeStamp;
    return true;
  }

  /** Alt+029 on the number pad writes the character 29: some scanners send GS so, some everything. */
  #endAltCode() {
    const digits = this.#altDigits;
    this.#altDigits = "";
    const code = /^0?\d{2,3}$/.test(digits) ? Number(digits) : 0;
    const text = code > 0 && code < 127 ? String.fromCharCode(code) : digits;
    for (const char of text) this.#add({ char, place: null }, this.#lastAt);
  }

  /** @param {Suffix} suffix @returns {Scan} */
  #read(suffix) {
    const strokes = this.#strokes;
    const { best, computer, shown } = bestReading(strokes, this.isKnown, this.#mismatch);
    const { mismatch, score, ...reading } = best;
    if (suffix) this.#mismatch = shown;
    const layout = mismatch ? "repaired" : score < 2 ? "wrong" : "right";
    const scanner = layout === "right" ? computer : (mismatch?.scanner ?? null);
    const raw = strokes.map(({ char }) => char).join("");
    const time = this.#lastAt - this.#startedAt;
    const speed = time > 0 ? Math.round(((strokes.length - 1) * 1000) / time) : null;
    const longestGap = Math.round(this.#longestGap);
    return { ...reading, raw, suffix, layout, computer, scanner, speed, longestGap };
  }

  /** @param {Suffix} suffix @param {number} time */
  #end(suffix, time) {
    if (!this.#strokes.length) return this.#endAgain(suffix, time);
    const scan = this.#read(suffix);
    const pause = this.#startedAt - this.#endedAt;
    const isSilent = this.#startedAt < this.#silentUntil;
    this.clear();
    this.#endedAt = time;
    if (scan.text) this.#judge(scan, isSilent, pause);
    return true;
  }

  /** An Enter without text is the LF after a CR, or the page's. @param {Suffix} suffix @param {number} time */
  #endAgain(suffix, time) {
    if (suffix !== "enter" || time - this.#endedAt > TRIGGER) return false;
    if (this.#last?.suffix === "enter") this.#last.suffix = "enter enter";
    return true;
  }

  /** @param {Scan} scan @param {boolean} isSilent @param {number} pause */
  #judge(scan, isSilent, pause) {
    if (isSilent) return this.onIgnored(scan, "silence");
    if (this.#last?.text === scan.text && pause <= REPEAT) {
      this.#last.doubled = true;
      return this.onIgnored(scan, "repeat");
    }
    if (pause > TRIGGER) this.#endTrigger();
    if (this.#hasCounted) return this.onIgnored(scan, "same-trigger");
    if (!this.isKnown || scan.known) return this.#count(scan);
    if (this.#held) return this.onIgnored(scan, "same-trigger");
    return this.#hold(scan);
  }

  /** @param {Scan} scan */
  #hold(scan) {
    this.#cancel();
    this.#held = this.#last = scan;
    this.#cancel = this.schedule(() => this.#endTrigger(), TRIGGER);
  }

  #endTrigger() {
    this.#cancel();
    const held = this.#held;
    this.#held = null;
    this.#hasCounted = false;
    if (held) this.onScan(held);
  }

  /** @param {Scan} scan */
  #count(scan) {
    this.#cancel();
    const held = this.#held;
    this.#held = null;
    this.#hasCounted = this.isKnown !== undefined;
    this.#last = scan;
    if (held) this.onIgnored(held, "same-trigger");
    this.onScan(scan);
  }
}

/** @param {Key} key */
function isAltDigit({ altKey, ctrlKey, code = "" }) {
  return Boolean(altKey) && !ctrlKey && /^Numpad\d$/.test(code);
}

/** A scanner may send CR and LF as Ctrl+M and Ctrl+J. @param {Key} key @returns {"enter" | "tab" | null} */
function suffixOf({ key, shiftKey, ctrlKey, altKey }) {
  if (key === "Enter" || (ctrlKey && !altKey && /^[jm]$/i.test(key))) return "enter";
  return key === "Tab" && !shiftKey ? "tab" : null;
}

/** Ignores Alt: some scanners hold it for all keys. Ctrl and Alt together are AltGr. @param {Key} key @returns {Stroke | null} */
function strokeOf({ key, code, shiftKey, ctrlKey, altKey, metaKey }) {
  const isControl = ctrlKey && !altKey;
  if (key === "F8" || (isControl && (key === "]" || code === "BracketRight"))) return { char: GS, place: null };
  if (isControl || metaKey) return null;
  if (key === "Dead") return { char: DEAD_KEY, place: placeOf(code, shiftKey) };
  if (Array.from(key).length !== 1) return null;
  return { char: key, place: ctrlKey ? null : placeOf(code, shiftKey), shift: shiftKey };
}

/** @param {() => void} callback @param {number} milliseconds */
function later(callback, milliseconds) {
  const timer = setTimeout(callback, milliseconds);
  return () => clearTimeout(timer);
}
