// @ts-check
// Explains codes that are not in the batch, as far as their text tells what is wrong, and suggests the codes that were
// meant.

import { say } from "./texts.js";

const SHOWN = 10;
const { prefix = "", firstCode = "", lastCode = "", uniq = "" } = /** @type {HTMLElement} */ (document.getElementById("line")).dataset;
/** Letters that are mistaken for digits. @type {Record<string, string>} */
const LOOKALIKES = { O: "0", Q: "0", D: "0", I: "1", L: "1", Z: "2", S: "5", B: "8" };

/** Returns the code of the batch that may have been meant, or null. @param {string} code */
export function meant(code) {
  if (!firstCode) return null;
  const tail = tailOf(code);
  const digits = Array.from(tail, (char) => LOOKALIKES[char] ?? char).join("");
  if (!/^\d{1,7}$/.test(digits)) return null;
  const found = prefix + digits.replace(/^0+(?=\d)/, "").padStart(firstCode.length - prefix.length, "0");
  return found !== code && isWithin(found) ? found : null;
}

/** Returns what follows the prefix. The prefix may be misspelled with lookalikes. @param {string} code */
function tailOf(code) {
  const same = (/** @type {string} */ text) => Array.from(text, (char) => LOOKALIKES[char] ?? char).join("");
  return same(code).startsWith(same(prefix)) ? code.slice(prefix.length) : "";
}

/** @param {string} code */
function isWithin(code) {
  const [number, first, last] = [code, firstCode, lastCode].map((one) => Number(one.slice(prefix.length)));
  return first <= number && number <= last;
}

/** @param {string} code */
function reason(code) {
  if (uniq && code.startsWith(uniq)) return say("exclude.is_case", { code });
  if (!firstCode || !new RegExp(`^${prefix}\\d+$`).test(code)) return null;
  return isWithin(code) ? null : say("exclude.outside", { code, first: firstCode, last: lastCode });
}

/**
 * Puts a line for each of the first unknown codes under the list; a button, if the right code is known.
 * @param {string[]} unknown @param {HTMLTextAreaElement} list @param {HTMLElement} place @param {() => void} changed
 */
export function suggest(unknown, list, place, changed) {
  for (const code of unknown.slice(0, SHOWN)) {
    const right = meant(code);
    const told = document.createElement(right ? "button" : "p");
    told.textContent = right ? say("exclude.meant", { code, right }) : (reason(code) ?? "");
    told.className = "small suggested";
    if (told instanceof HTMLButtonElement && right) {
      told.type = "button";
      told.addEventListener("click", () => {
        list.value = list.value.split(/([\s,;]+)/).map((word) => (word.toUpperCase() === code ? right : word)).join("");
        changed();
      });
    }
    if (told.textContent) place.append(told);
  }
}
