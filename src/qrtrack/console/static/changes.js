// @ts-check
// Buttons and forms that change something through the JSON API. Their attributes say everything:
//   data-path      the route; {name} in it and in data-then and data-done is filled from the fields or from the answer
//   data-method    POST if left out
//   data-body      JSON that is sent with the fields
//   data-sure      the question that is asked before
//   data-counted   the question after a dry run, filled from its answer: "Replay {count} events?"
//   data-done      what is said afterwards
//   data-then      the page that is opened afterwards
// What is said or refused stands in the [data-said] of the form, or of the page for a button.

import { press, send, waitingPress } from "./send.js";
import { fill, say, sayProblem } from "./texts.js";

document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("button[data-path]");
  if (button instanceof HTMLButtonElement) change(button, {});
});

document.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (!form.dataset.path || event.submitter?.hasAttribute("data-path")) return;
  event.preventDefault();
  change(form, fieldsOf(form));
});

/** @param {HTMLElement} control @param {Record<string, unknown>} fields */
async function change(control, fields) {
  const { path = "", method = "POST", body = "{}", sure, counted, done, then } = control.dataset;
  const inBody = Object.entries(fields).filter(([name]) => !path.includes(`{${name}}`));
  const asked = {
    path: fill(path, fields, encodeURIComponent),
    method,
    body: { ...JSON.parse(body), ...Object.fromEntries(inBody) },
  };
  if (sure && !(await ask(sure))) return;
  if (waitingPress()) return tell(control, say("press.other"), false);
  disable(control, true);
  try {
    if (counted && !(await isWantedAsCounted(control, asked, counted))) return;
    const answer = await press(asked, () => tell(control, say("press.waiting"), false));
    if (!answer.ok) return tell(control, reasonOf(answer.body), false);
    const values = { ...fields, ...answer.body };
    if (then) return location.assign(fill(then, values, encodeURIComponent));
    const dialog = control instanceof HTMLFormElement && control.closest("dialog");
    if (dialog) dialog.close();
    // What is said in a dialog that has closed is not seen: the page says it.
    tell(dialog ? document.body : control, done ? fill(done, values) : "", true);
    document.body.dispatchEvent(new Event("tick"));
  } finally {
    disable(control, false);
  }
}

/** @param {HTMLElement} control @param {import("./send.js").Change} asked @param {string} question */
async function isWantedAsCounted(control, asked, question) {
  const answer = await send({ ...asked, body: { ...asked.body, dry_run: true } });
  if (!answer) tell(control, say("press.no_answer"), false);
  else if (!answer.ok) tell(control, reasonOf(answer.body), false);
  else return ask(fill(question, answer.body));
  return false;
}

/**
 * The fields as JSON: numbers are numbers, ticks are booleans, `data-list` splits at blanks and commas, local times are
 * instants. An empty field is left out.
 * @param {HTMLFormElement} form
 */
export function fieldsOf(form) {
  /** @type {Record<string, unknown>} */
  const fields = {};
  for (const field of /** @type {Iterable<HTMLInputElement>} */ (form.elements)) {
    if (!field.name || field.disabled || (field.type === "radio" && !field.checked)) continue;
    if (field.type === "checkbox") fields[field.name] = field.checked;
    else if (!field.value.trim()) continue;
    else fields[field.name] = valueOf(field);
  }
  return fields;
}

/** @param {HTMLInputElement} field */
function valueOf(field) {
  const text = field.value.trim();
  if ("list" in field.dataset) return text.split(/[\s,;]+/).filter(Boolean);
  if ("upper" in field.dataset) return text.toUpperCase();
  if (field.type === "number" || "number" in field.dataset) return Number(text);
  if (field.type === "datetime-local") return new Date(text).toISOString();
  return text;
}

/** @param {any} problem */
function reasonOf(problem) {
  return problem.errors?.[0] ? say("problem.unknown", { detail: problem.errors[0].detail }) : sayProblem(problem).text;
}

/** @param {HTMLElement} control @param {string} text @param {boolean} isGood */
function tell(control, text, isGood) {
  const said = (control !== document.body && control.querySelector("[data-said]")) || document.querySelector("main > [data-said]");
  if (!(said instanceof HTMLElement)) return;
  said.hidden = !text;
  said.className = isGood ? "notice good" : "notice bad";
  said.textContent = text;
}

/** @param {HTMLElement} control @param {boolean} isBusy */
function disable(control, isBusy) {
  const buttons = control instanceof HTMLButtonElement ? [control] : control.querySelectorAll("button:not([data-close])");
  for (const button of buttons) /** @type {HTMLButtonElement} */ (button).disabled = isBusy;
}

/** Asks the person. @param {string} question @returns {Promise<boolean>} */
function ask(question) {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("sure"));
  /** @type {HTMLElement} */ (document.getElementById("sure-question")).textContent = question;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

// A button that opens a dialog names it.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-opens]");
  if (!button) return;
  const dialog = document.getElementById(button.getAttribute("data-opens") ?? "");
  if (dialog instanceof HTMLDialogElement) dialog.showModal();
});
