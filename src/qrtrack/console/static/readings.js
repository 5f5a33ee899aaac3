// @ts-check
/**
 * Reads the keys of one scan. A scan has several readings: as it was typed, and as scanners of other layouts would have
 * meant it. The best reading counts.
 */

import { DEAD_KEY, MISMATCHES, computerKeyboard, respell } from "./keyboards.js";

/** @import { Keyboard, Mismatch, Reading, Stroke } from "./scan-types.js" */

const GS = "\x1d";
const SPELLED_GS = /[<{[](?:GS|FNC1)[>}\]]|\^\]|\\x1D|\\u001D|\u241d/gi;
const CONTROLS = /[\x00-\x1c\x1e\x1f\x7f]/g;
const AIM_IDENTIFIER = /^\][A-Za-z][0-9A-Za-z]/;
/** AIM identifiers of GS1 symbols. Their data begins with a separator, which scanners leave out. */
const GS1_SYMBOL = /^\](?:C1|e0|d2|Q3|J1)/i;
const STARS = /^\*([^*]+)\*$/;
const LONGEST_CODE = 20;
const CODE = /^[A-Z0-9][A-Z0-9._-]{0,19}$/i;
const ADDRESS = /^https?:\/\/[a-z0-9.-]+(:\d+)?\/[!-~]*$/i;
const WORDS = /^[A-Z0-9 ]+$/i;
const CODE_39_OR_GS1 = /^[A-Z0-9 ._\-/+%$*:()\x1d]+$/i;

/**
 * @param {readonly Stroke[]} strokes
 * @param {((text: string) => boolean) | undefined} isKnown
 * @param {Mismatch | null} expected The mismatch that an earlier scan has shown. It decides between readings with equal
 *   scores, for example y and z of a German keyboard.
 * @returns {{best: Reading, computer: Keyboard | null, shown: Mismatch | null}} `computer`: the layout of the computer, if
 *   the keys tell it. `shown`: the mismatch that this scan has shown, or `expected` if it shows nothing.
 */
export function bestReading(strokes, isKnown, expected) {
  const hasShiftedLowerCase = strokes.some(({ char, shift }) => shift && isLowerCase(char));
  const readAs = (/** @type {Mismatch | null} */ mismatch) => {
    const spelled = mismatch ? respell(strokes, mismatch) : strokes.map(({ char }) => char).join("");
    return readText(spelled, { isKnown, hasShiftedLowerCase, mismatch });
  };
  const typed = readAs(null);
  const others = MISMATCHES.map(readAs);
  const told = computerKeyboard(strokes);
  const computer = told ?? computerKeyboard(strokes, true);
  // No known layout writes these characters with these keys: the keys are read as a US layout first.
  const isStrange = hasPlaces(strokes) && !told && computer !== "us";
  const first = expected ?? (isStrange ? MISMATCHES[0] : null);
  const readings = first ? [readAs(first), typed, ...others] : [typed, ...others];
  let [best] = readings;
  for (const reading of readings) if (isBetter(reading, best)) best = reading;
  if (best.text === typed.text) best = typed;
  const shown = mismatchAfter(best, typed, expected && readings[0]);
  return { best, shown, computer: hasPlaces(strokes) ? computer : (best.mismatch?.computer ?? null) };
}

/**
 * @param {Reading} best
 * @param {Reading} typed
 * @param {Reading | null} expected
 */
function mismatchAfter(best, typed, expected) {
  if (best.mismatch && best.score > typed.score) return best.mismatch;
  return expected && typed.score <= expected.score ? expected.mismatch : null;
}

/** @param {readonly Stroke[]} strokes */
function hasPlaces(strokes) {
  return strokes.some(({ place }) => typeof place === "number");
}

/**
 * What looks like a code is replaced by another layout's reading only if that one is known.
 * @param {Reading} one
 * @param {Reading} best
 */
function isBetter(one, best) {
  return one.score > best.score && (one.known || !one.mismatch || best.score < 2);
}

/**
 * @param {string} raw
 * @param {{isKnown?: (text: string) => boolean, hasShiftedLowerCase: boolean, mismatch: Mismatch | null}} how
 * @returns {Reading}
 */
function readText(raw, { isKnown = () => false, hasShiftedLowerCase, mismatch }) {
  const { text: bare, symbology, doubled } = unwrap(raw, isKnown);
  const caseInverted = isCaseInverted(bare, hasShiftedLowerCase);
  const text = CODE.test(bare) ? bare.toUpperCase() : caseInverted ? swapCase(bare) : bare;
  const known = isKnown(text);
  return { text, symbology, doubled, caseInverted, known, mismatch, score: known ? 4 : score(text) };
}

/**
 * The text without AIM identifiers, controls, blanks and stars around it, and repetition. Like the service, it keeps one
 * GS before the data of a GS1 symbol: only that tells the data from a code.
 * @param {string} raw
 * @param {(text: string) => boolean} isKnown
 */
function unwrap(raw, isKnown) {
  let text = raw.replace(SPELLED_GS, GS).replace(CONTROLS, "");
  let symbology = null;
  let doubled = false;
  let isGs1 = false;
  for (let before = null; before !== text; ) {
    before = text;
    if (isTwice(text, isKnown)) {
      text = text.slice(0, text.length / 2);
      doubled = true;
    }
    const identifier = AIM_IDENTIFIER.exec(text)?.[0];
    symbology ??= identifier ?? null;
    isGs1 ||= text.startsWith(GS) || GS1_SYMBOL.test(text);
    text = text.slice(identifier?.length ?? 0).replace(/^[\s\x1d]+|[\s\x1d]+$/g, "");
    text = STARS.exec(text)?.[1] ?? text;
  }
  return { text: isGs1 && text ? GS + text : text, symbology, doubled };
}

/** A short `ABAB` may be a code: it is halved only if its half is known, or has letters and digits as our codes do. */
function isTwice(/** @type {string} */ text, /** @type {(text: string) => boolean} */ isKnown) {
  const half = text.slice(0, text.length / 2);
  if (!half || half + half !== text || isKnown(text.toUpperCase())) return false;
  const looksWhole = half.length >= 6 && /[a-z]/i.test(half) && /\d/.test(half);
  return isKnown(half.toUpperCase()) || looksWhole || text.length > LONGEST_CODE;
}

/**
 * Whether Caps Lock was on: an address has an upper-case scheme, or Shift wrote small letters. Small letters alone prove
 * nothing: people type them.
 * @param {string} text
 * @param {boolean} hasShiftedLowerCase
 */
function isCaseInverted(text, hasShiftedLowerCase) {
  if (/^HTTPS?:.*[a-z]/.test(text)) return true;
  return hasShiftedLowerCase && !/^https?:.*[A-Z]/.test(text);
}

/** @param {string} text */
export function swapCase(text) {
  return Array.from(text, (char) => (isLowerCase(char) ? char.toUpperCase() : char.toLowerCase())).join("");
}

/** @param {string} char */
function isLowerCase(char) {
  return char !== char.toUpperCase();
}

/** @param {string} text */
function score(text) {
  const hasDigit = /\d/.test(text);
  if (ADDRESS.test(text) || (CODE.test(text) && hasDigit)) return 3;
  if (WORDS.test(text) || (CODE_39_OR_GS1.test(text) && hasDigit)) return 2;
  return /^[\x1d -~]*$/.test(text) && !text.includes(DEAD_KEY) ? 1 : 0;
}
