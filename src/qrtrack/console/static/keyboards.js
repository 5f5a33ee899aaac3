// @ts-check
/**
 * Keyboard layouts. A scanner sends keys, and the computer turns them into characters. If the two are set to different
 * layouts, the characters are wrong. This module restores the characters that the scanner meant.
 */

/** @import { Keyboard, Mismatch, Stroke } from "./scan-types.js" */

/** The keys that write characters, by `KeyboardEvent.code`, row by row. */
const KEYS = [
  "Backquote Digit1 Digit2 Digit3 Digit4 Digit5 Digit6 Digit7 Digit8 Digit9 Digit0 Minus Equal",
  "KeyQ KeyW KeyE KeyR KeyT KeyY KeyU KeyI KeyO KeyP BracketLeft BracketRight Backslash",
  "KeyA KeyS KeyD KeyF KeyG KeyH KeyJ KeyK KeyL Semicolon Quote",
  "IntlBackslash KeyZ KeyX KeyC KeyV KeyB KeyN KeyM Comma Period Slash",
].join(" ").split(" ");

/**
 * The characters that each layout writes with these keys, first without Shift, then with Shift. A dead key is listed as
 * its accent.
 * @type {Record<Keyboard, string>}
 */
const LAYOUTS = {
  us: "`1234567890-=qwertyuiop[]\\asdfghjkl;'\\zxcvbnm,./" + "~!@#$%^&*()_+QWERTYUIOP{}|ASDFGHJKL:\"|ZXCVBNM<>?",
  gb: "`1234567890-=qwertyuiop[]#asdfghjkl;'\\zxcvbnm,./" + '¬!"£$%^&*()_+QWERTYUIOP{}~ASDFGHJKL:@|ZXCVBNM<>?',
  fr: "²&é\"'(-è_çà)=azertyuiop^$*qsdfghjklmù<wxcvbn,;:!" + "~1234567890°+AZERTYUIOP¨£µQSDFGHJKLM%>WXCVBN?./§",
  de: "^1234567890ß´qwertzuiopü+#asdfghjklöä<yxcvbnm,.-" + "°!\"§$%&/()=?`QWERTZUIOPÜ*'ASDFGHJKLÖÄ>YXCVBNM;:_",
  es: "º1234567890'¡qwertyuiop`+çasdfghjklñ´<zxcvbnm,.-" + 'ª!"·$%&/()=?¿QWERTYUIOP^*ÇASDFGHJKLÑ¨>ZXCVBNM;:_',
};

/** Replaces a dead key in a text: the browser does not say which character it is. */
export const DEAD_KEY = "\ufffd";

const OTHERS = ["fr", "de", "es", "gb"];

/** The mismatches that are tried: one of the two is set to the US layout. Most scanners leave the factory with it. */
export const MISMATCHES = /** @type {readonly Mismatch[]} */ ([
  ...OTHERS.map((computer) => ({ computer, scanner: "us" })),
  ...OTHERS.map((scanner) => ({ computer: "us", scanner })),
]);

/**
 * Returns the place of a key in the layouts, for `Stroke`.
 * @param {string | undefined} code `KeyboardEvent.code`
 * @param {boolean | undefined} shift
 * @returns {number | null | undefined}
 */
export function placeOf(code, shift) {
  if (!code) return undefined;
  const key = KEYS.indexOf(code);
  return key < 0 ? null : key + (shift ? KEYS.length : 0);
}

/**
 * Returns the text that the scanner meant with these keys.
 * @param {readonly Stroke[]} strokes
 * @param {Mismatch} mismatch
 */
export function respell(strokes, { computer, scanner }) {
  const spell = (/** @type {Stroke} */ { char, place }) => {
    if (place === null) return char;
    const at = place ?? LAYOUTS[computer].indexOf(char);
    return at < 0 ? char : LAYOUTS[scanner][at];
  };
  return strokes.map(spell).join("");
}

/**
 * Returns the layout that the computer is set to, or the first of several layouts that fit: letters alone often do not
 * decide.
 * @param {readonly Stroke[]} strokes
 * @param {boolean} [ignoresShift] A French Caps Lock shifts digits too, and some programs type without Shift.
 * @returns {Keyboard | null} null if the scan has no key with a place, or if no layout fits
 */
export function computerKeyboard(strokes, ignoresShift = false) {
  const told = strokes.filter(({ place }) => typeof place === "number");
  const isWrittenBy = (/** @type {string} */ layout) => (/** @type {Stroke} */ { char, place }) => {
    const [here, shifted] = [Number(place), (Number(place) + KEYS.length) % layout.length];
    const written = ignoresShift ? [layout[here], layout[shifted]] : [layout[here]];
    return char === DEAD_KEY || written.some((other) => other.toLowerCase() === char.toLowerCase());
  };
  const names = /** @type {Keyboard[]} */ (Object.keys(LAYOUTS));
  return told.length ? (names.find((name) => told.every(isWrittenBy(LAYOUTS[name]))) ?? null) : null;
}
