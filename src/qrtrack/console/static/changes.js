// @ts-check
// Buttons and forms that change something through the JSON API. Their attributes:
//   data-path      the route; {name} in it and in data-then and data-done is filled from the fields or from the answer
//   data-method    POST if left out
//   data-body      JSON that is sent with the fields
//   data-sure      the question that is asked before. In a form, the data-sure of the checked field wins.
//   data-counted   the question after a dry run, filled from its answer: "Replay {count} events?"
//   data-done      what is said afterwards; with data-then, on the page that is opened
//   data-then      the page that is opened afterwards
//   data-opens     the id of the dialog that the button opens
//   data-fill      JSON: the values for the fields of that dialog
// A form with data-sure and without data-path asks before the browser sends it. Its data-person gets the person of the
// page. A refusal is first an event "refused", which a page may cancel or give a text. What is said stands in the
// [data-said] of the form, or of the page for a button.

import { ask } from "./asking.js";
import { person, press, send, whyNotNow } from "./send.js";
import { tellIfSlow } from "./slow.js";
import { atLeast, fill, isKnown, say, sayProblem } from "./texts.js";

const SAID = `said.${person}`;

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
export async function change(control, fields) {
  const { path = "", method = "POST", body = "{}", counted, done, then } = control.dataset;
  const sure = /** @type {HTMLElement} */ (control.querySelector(":checked[data-sure]") ?? control).dataset.sure;
  const inBody = Object.entries(fields).filter(([name]) => !path.includes(`{${name}}`));
  const asked = {
    path: fill(path, fields, encodeURIComponent),
    method,
    body: { ...JSON.parse(body), ...Object.fromEntries(inBody) },
    label: `${document.title}: ${(control.querySelector("button:not([type=button])") ?? control).textContent?.trim()}`,
  };
  if (sure && !(await ask(sure))) return;
  const why = whyNotNow();
  if (why) return tell(control, say(`press.not_now_${why}`), false);
  disable(control, true);
  let isWaiting = false;
  const tellWaiting = () => {
    isWaiting = true;
    tell(control, say("press.waiting"), false);
  };
  try {
    if (counted && !(await isWantedAsCounted(control, asked, counted))) return;
    const answer = await tellIfSlow(press(asked, tellWaiting), () => isWaiting || tellWorking(control));
    if (!answer.ok) return refuse(control, answer.body);
    const values = { ...fields, ...answer.body };
    if (then) {
      if (done) sessionStorage.setItem(SAID, fill(done, values));
      return location.assign(fill(then, values, encodeURIComponent));
    }
    const dialog = control instanceof HTMLFormElement && control.closest("dialog");
    if (dialog) dialog.close();
    // Nobody would see a text in the closed dialog, so the page shows it.
    tell(dialog ? document.body : control, done ? fill(done, values) : "", true);
    document.body.dispatchEvent(new Event("tick"));
  } finally {
    disable(control, false);
  }
}

/** @param {HTMLElement} control @param {import("./send-types.js").Change} asked @param {string} question */
async function isWantedAsCounted(control, asked, question) {
  const answer = await tellIfSlow(send({ ...asked, body: { ...asked.body, dry_run: true } }), () => tellWorking(control));
  tell(control, "", true);
  if (!answer) tell(control, say("press.no_answer"), false);
  else if (!answer.ok) tell(control, reasonOf(answer.body), false);
  else if (answer.body.matching === 0) tell(control, say("press.nothing"), false);
  else return ask(fill(question, counts(answer.body)));
  return false;
}

/** Returns the values of a dry run's answer. If it stopped counting, the count is shown as `10,000+`. @param {any} answer */
function counts(answer) {
  return answer.more ? { ...answer, matching: atLeast(answer.matching) } : answer;
}

/**
 * The fields as JSON: numbers, booleans, and instants for local times (plant-time.js). `data-list` splits at blanks,
 * commas and semicolons, `data-lines` at lines. `data-pairs` names the members of an object for each line: its text, and
 * the number at its end. Empty fields are left out; with `data-empty` they are null, or an empty list. `notify.email` is
 * a member of an object `notify`.
 * @param {HTMLFormElement} form
 */
export function fieldsOf(form) {
  /** @type {Record<string, unknown>} */
  const fields = {};
  for (const field of /** @type {Iterable<HTMLInputElement>} */ (form.elements)) {
    if (!field.name || field.matches(":disabled") || (field.type === "radio" && !field.checked)) continue;
    if (field.type !== "checkbox" && !field.value.trim() && !("empty" in field.dataset)) continue;
    const [name, inner] = field.name.split(".");
    const value = field.type === "checkbox" ? field.checked : valueOf(field);
    fields[name] = inner ? { .../** @type {object} */ (fields[name]), [inner]: value } : value;
  }
  return fields;
}

/** @param {HTMLInputElement} field */
function valueOf(field) {
  const text = field.value.trim();
  if ("lines" in field.dataset) return text.split("\n").map((line) => line.trim()).filter(Boolean);
  if (!text) return null;
  if ("list" in field.dataset) return text.split(/[\s,;]+/).filter(Boolean);
  if (field.dataset.pairs) return text.split(/\n+/).map((line) => pairOf(line.trim(), field.dataset.pairs ?? ""));
  if ("upper" in field.dataset) return text.toUpperCase();
  if (field.type === "number" || "number" in field.dataset) return Number(text);
  if (field.type === "datetime-local") return field.dataset.instant;
  return text;
}

/** `10 g 60` as {variant: "10 g", quantity: 60}. @param {string} line @param {string} names */
function pairOf(line, names) {
  const [first, second] = names.split(" ");
  const [, text, number] = /^(.*?)[\s:=]*(\d*)$/.exec(line) ?? [];
  return { [first]: text, [second]: Number(number) };
}

/** @param {HTMLElement} control @param {any} problem */
function refuse(control, problem) {
  const refused = new CustomEvent("refused", { bubbles: true, cancelable: true, detail: { problem, text: "" } });
  if (control.dispatchEvent(refused)) tell(control, refused.detail.text || reasonOf(problem), false);
}

/** Returns the text for a refusal of the API. The text may contain the first wrong value. @param {any} problem */
export function reasonOf(problem) {
  const kind = (problem.type ?? "").split(":").pop();
  const state = `refusal.state-${problem.state}`;
  if (kind === "invalid-state" && isKnown(state)) return say(state);
  const error = problem.errors?.[0];
  if (error && !isKnown(`refusal.${kind}_text`)) return sayField(error);
  return sayProblem({ ...problem, value: error?.params?.value }, ["refusal", "problem"]).text;
}

/**
 * What is wrong with one field, after its label. A code without a text has the API's sentence.
 * @param {{pointer: string, code: string, params: Record<string, unknown>, detail: string}} error
 */
function sayField({ pointer, code, params, detail }) {
  const text = isKnown(`field.${code}`) ? say(`field.${code}`, params) : say("problem.unknown", { detail });
  const name = CSS.escape(pointer.slice(1).replace("/", "."));
  const label = document.querySelector(`label.field > [name="${name}"]`)?.previousElementSibling?.textContent;
  return label ? `${label}: ${text}` : text;
}

/** @param {HTMLElement} control */
function tellWorking(control) {
  tell(control, say("press.working"), true);
}

/** @param {HTMLElement} control @param {string} text @param {boolean} isGood */
function tell(control, text, isGood) {
  const said = (control !== document.body && control.querySelector("[data-said]")) || document.querySelector("main > [data-said]");
  if (!(said instanceof HTMLElement)) return;
  said.hidden = !text;
  said.className = isGood ? "notice good" : "notice bad";
  said.textContent = text;
  // It may be far from the button.
  if (text) said.scrollIntoView({ block: "nearest" });
}

const saidBefore = sessionStorage.getItem(SAID);
if (saidBefore) tell(document.body, saidBefore, true);
sessionStorage.removeItem(SAID);

/** @param {HTMLElement} control @param {boolean} isBusy */
function disable(control, isBusy) {
  const buttons = control instanceof HTMLButtonElement ? [control] : control.querySelectorAll("button:not([data-close])");
  for (const button of buttons) /** @type {HTMLButtonElement} */ (button).disabled = isBusy;
}

document.addEventListener("submit", async (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (form.dataset.path || !form.dataset.sure) return;
  event.preventDefault();
  const whose = form.querySelector("[data-person]");
  if (whose instanceof HTMLInputElement) whose.value = person;
  if (await ask(form.dataset.sure)) form.submit();
});

// Buttons that open a dialog: data-opens and data-fill.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element && event.target.closest("[data-opens]");
  if (!button) return;
  const dialog = document.getElementById(button.getAttribute("data-opens") ?? "");
  if (!(dialog instanceof HTMLDialogElement)) return;
  for (const [name, value] of Object.entries(JSON.parse(button.getAttribute("data-fill") ?? "{}"))) {
    const field = dialog.querySelector("form")?.elements.namedItem(name);
    if (field instanceof HTMLElement && "value" in field) field.value = value;
  }
  dialog.showModal();
});
