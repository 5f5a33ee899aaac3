// @ts-check
// Explains a refused packing, move or undo, and offers the choices. Loaded at the first refusal.

import { change } from "./packing.js";
import { isKnown, say, sayProblem } from "./texts.js";
import { element, forgetNotTaken, reveal, showError } from "./verdict.js";

/** @import { Answer } from "./send-types.js" */
/** @typedef {import("./verdict.js").Choice} Choice */

const COUNT_DRIFT = "urn:qrtrack:problem:count-drift";
const TOO_FEW = "urn:qrtrack:problem:not-enough-prepared";
const SHOWN_CHOICES = 12;

/** @param {Answer} answer @param {() => void} acknowledge */
export function explain({ body, press: { path, body: asked } }, acknowledge) {
  const { title, text } = sayRefusal(body, path, asked);
  const again = (/** @type {object} */ more) => {
    forgetNotTaken();
    change(path, { ...asked, ...more });
  };
  const sendMissing = (/** @type {string} */ code) => again({ missing_codes: [...(asked.missing_codes ?? []), code] });
  const hasMany = isMissing(body) && body.codes.length > SHOWN_CHOICES;
  const choices = hasMany ? [] : choicesOf(body, sendMissing, again);
  const label = say(choices.length ? "verdict.stop" : "verdict.understood");
  showError(title, text, [...choices, { label, run: acknowledge }]);
  if (hasMany) askForCode(sendMissing);
}

/** Returns whether the operator has to name a missing unit. @param {any} body */
function isMissing({ type, cause }) {
  return type === COUNT_DRIFT && cause === "unit_missing";
}

/** Returns the words for a refusal of what was tried. @param {any} body @param {string} path @param {any} asked */
function sayRefusal(body, path, asked) {
  if (body.type === COUNT_DRIFT) return sayDrift(body);
  const box = body.master_code_info;
  const sections = ["problem"];
  if (path.endsWith("/move-case")) sections.unshift("moving");
  else if (box?.actual_units < box?.expected_units) sections.unshift("part_filled");
  const why = [`each.code-${body.state}`, `each.${body.state}`].find(isKnown) ?? "each.not-prepared";
  return sayProblem({ ...body, code: asked.first_code, why: say(why) }, sections);
}

/** @param {any} body */
function sayDrift(body) {
  const { codes, cause } = body;
  const isLong = codes.length > SHOWN_CHOICES;
  const end = isMissing(body) ? (isLong ? "many" : "text") : cause;
  const listed = codes.slice(0, SHOWN_CHOICES).join(", ") + (isLong ? " …" : "");
  const values = { ...body, first: codes[0], last: codes.at(-1), listed };
  return { title: say("problem.count-drift"), text: say(`problem.count-drift_${end}`, values) };
}

/** @param {any} body @param {(code: string) => void} sendMissing @param {(more: object) => void} again @returns {Choice[]} */
function choicesOf(body, sendMissing, again) {
  if (isMissing(body)) {
    return body.codes.map((/** @type {string} */ code) => ({
      label: say("verdict.missing_choice", { code }),
      run: () => sendMissing(code),
    }));
  }
  if (body.type !== TOO_FEW || !body.available) return [];
  return [{ label: say("problem.partial_choice", body), run: () => again({ allow_partial: true }) }];
}

/** Asks in a field: there are too many codes for buttons on a tablet. @param {(code: string) => void} take */
function askForCode(take) {
  const field = element("missing-code");
  element("missing").hidden = false;
  field.value = "";
  reveal();
  element("missing").onsubmit = (/** @type {Event} */ event) => {
    event.preventDefault();
    take(field.value.trim());
  };
}
