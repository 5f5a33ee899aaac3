// @ts-check
// Imports a file of codes: choosing or dropping it, a preview of its first lines, sending it with progress, and the
// mistakes line by line. A reload loses the file, so only this page can send it again after a lost connection.

import { reasonOf } from "./changes.js";
import { newKey, signInAndComeBack } from "./send.js";
import { isKnown, say } from "./texts.js";

const ADDRESS = "/api/manufacturer/batches/import";
const SHOWN_BYTES = 2000;
const SHOWN_LINES = 6;
const AGAIN_MILLISECONDS = 3000;
const STATUSES_WITHOUT_ANSWER = [0, 502, 503, 504];

const form = /** @type {HTMLFormElement} */ (document.getElementById("import"));
const drop = part("drop");
const chooser = /** @type {HTMLInputElement} */ (form.elements.namedItem("file"));
const said = /** @type {HTMLElement} */ (form.querySelector("[data-said]"));
const sending = part("sending");
const bar = /** @type {HTMLProgressElement} */ (sending.querySelector("progress"));
const mistakes = part("mistakes");

/** @param {string} id */
function part(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}

/** @param {HTMLElement} where @param {string} name @param {string} text */
function write(where, name, text) {
  /** @type {HTMLElement} */ (where.querySelector(`[data-${name}]`)).textContent = text;
}

for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
  });
}
drop.addEventListener("drop", (event) => {
  const files = event.dataTransfer?.files;
  if (!files?.length) return;
  chooser.files = files;
  preview();
});
chooser.addEventListener("change", preview);
// A file may have been chosen before this script was loaded, or the browser kept the choice over a reload.
preview();

async function preview() {
  const file = chooser.files?.[0];
  const shown = part("preview");
  shown.hidden = !file;
  mistakes.hidden = said.hidden = true;
  if (!file) return;
  const lines = (await file.slice(0, SHOWN_BYTES).text()).split(/\r\n|\r|\n/).slice(0, SHOWN_LINES);
  write(shown, "name", file.name);
  write(shown, "size", say("import.size", { size: Math.ceil(file.size / 1024) }));
  write(shown, "lines", lines.join("\n"));
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const fields = new FormData(form);
  for (const name of ["gtin", "lot"]) if (!fields.get(name)) fields.delete(name);
  const go = /** @type {HTMLButtonElement} */ (form.querySelector("button.primary"));
  go.disabled = true;
  said.hidden = mistakes.hidden = true;
  sending.hidden = false;
  const answer = await deliver(fields, newKey());
  sending.hidden = true;
  go.disabled = false;
  if (answer.status === 401) signInAndComeBack();
  else if (answer.body.success) location.assign(`/console/batches/${answer.body.batch_id}`);
  else refuse(answer.body);
});

/**
 * Sends until the server has answered. With one Idempotency-Key, several requests make one import.
 * @param {FormData} fields @param {string} key
 */
async function deliver(fields, key) {
  for (;;) {
    const answer = await post(fields, key);
    const isRunning = answer.body.type === "urn:qrtrack:problem:idempotency-key-in-use";
    if (!STATUSES_WITHOUT_ANSWER.includes(answer.status) && !isRunning) return answer;
    bar.removeAttribute("value");
    write(sending, "stage", say("import.waiting"));
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MILLISECONDS));
  }
}

/**
 * Uses XMLHttpRequest: fetch does not report the progress of an upload.
 * @param {FormData} fields @param {string} key @returns {Promise<{status: number, body: any}>}
 */
function post(fields, key) {
  const request = new XMLHttpRequest();
  request.open("POST", ADDRESS);
  request.setRequestHeader("Idempotency-Key", key);
  write(sending, "stage", say("import.sending"));
  request.upload.addEventListener("progress", (event) => {
    bar.value = event.lengthComputable ? (100 * event.loaded) / event.total : 0;
  });
  request.upload.addEventListener("load", () => {
    bar.removeAttribute("value");
    write(sending, "stage", say("import.checking"));
  });
  return new Promise((resolve) => {
    request.addEventListener("loadend", () => resolve({ status: request.status, body: parsed(request) }));
    request.send(fields);
  });
}

/** Parses the answer. That of a proxy may be no JSON. @param {XMLHttpRequest} request @returns {any} */
function parsed({ responseText, status }) {
  try {
    return JSON.parse(responseText);
  } catch {
    return { detail: `HTTP ${status}` };
  }
}

/** @param {any} problem */
function refuse(problem) {
  const errors = problem.errors ?? [];
  const isOfFile = errors.some((/** @type {any} */ error) => error.pointer.startsWith("/file"));
  if (!isOfFile) {
    said.hidden = false;
    said.textContent = reasonOf(problem);
    return;
  }
  const count = problem.error_count ?? errors.length;
  const title = count > errors.length ? "import.mistakes_first" : "import.mistakes";
  write(mistakes, "title", say(title, { count, shown: errors.length }));
  const rows = /** @type {HTMLElement} */ (mistakes.querySelector("tbody"));
  rows.replaceChildren(...errors.map(rowOf));
  mistakes.hidden = false;
  mistakes.focus();
}

/** @param {any} error */
function rowOf(error) {
  const template = /** @type {HTMLTemplateElement} */ (mistakes.querySelector("template"));
  const row = /** @type {HTMLElement} */ (template.content.cloneNode(true));
  const [, , line = "–", column = "–"] = error.pointer.split("/");
  const [first, second, third] = row.querySelectorAll("td");
  first.textContent = line;
  second.textContent = column;
  const key = `import_error.${error.code}`;
  third.textContent = isKnown(key) ? say(key, error.params) : error.detail;
  return row;
}
