// @ts-check
// The packing page. The tab keeps the scans and the refusal of each batch: a reload loses none.

import { Scanner } from "./scan.js";
import { press, resume, waitingPress, whyNotNow } from "./send.js";
import { soundBad, soundGood, startShift } from "./sounds.js";
import { say, sayProblem } from "./texts.js";
import { element, forgetNotTaken, isLocked, isNext, show, showError, showNext, showWaiting, tellNotTaken } from "./verdict.js";

/** @import { Answer } from "./send-types.js" */

const line = element("line");
const { batch = "", order, station, uniq = "", prefix = "" } = line.dataset;
/** @type {Record<string, HTMLInputElement>} */
const fields = { master: element("master"), first: element("first"), last: element("last") };
const checked = element("checked");
const CHECKED = "qrtrack.checked";
const KEPT = `qrtrack.line.${batch}`;
// A master code of this service, or an SSCC.
const MASTER_CODE = /-C\d+$|^(\x1d?00|\(00\))?\d{18}$/i;

/** The part that collects units, if each unit is scanned; else null. @type {typeof import("./each-unit.js") | null} */
let each = null;
const wantsEach = element("each");

/** The refusal that waits for a person. @type {Answer | null} */
let refusal = null;

const scanner = new Scanner({ onScan: take, isKnown: prefix ? isOurs : undefined });

/** Returns whether the text may be a case, or a unit of this batch. @param {string} text */
function isOurs(text) {
  return MASTER_CODE.test(text) || text.startsWith(prefix) || text.toUpperCase().includes(uniq);
}

/** Why nothing can be sent now, or null. */
function whyNot() {
  return "submitting" in line.dataset ? "waiting" : whyNotNow();
}

/** @param {{text: string, layout: string}} scan */
function take(scan) {
  endEcho();
  const why = whyNot();
  if (why) return tellNotTaken(say(`verdict.not_taken_${why}`, { code: scan.text }));
  if (isLocked()) return tellNotTaken(say("verdict.not_taken_locked", { code: scan.text }));
  if (scan.layout === "wrong") return refuse(say("scan.wrong_layout_title"), say("scan.wrong_layout"));
  // Without each-unit.js the case would take units from the queue.
  if (wantsEach.checked && !each) return tellNotTaken(say("press.no_answer"));
  forgetNotTaken();
  if (each && !MASTER_CODE.test(scan.text)) return each.add(scan.text);
  fieldFor(scan.text).value = scan.text;
  goOn();
}

/** @param {any} part */
export function collectWith(part) {
  each = part;
  if (isNext()) sayNext();
}

/** Says what comes next. The queue on the page names the step. */
function sayNext() {
  if (each) return each.sayNext();
  // A sign-in page of the network may have replaced the queue.
  const step = `verdict.${element("next-step")?.dataset.step ?? "idle"}`;
  showNext(say(step), say(`${step}_todo`));
}

function focusedField() {
  return Object.values(fields).find((field) => field === document.activeElement);
}

/** Returns the field for a scan. Units and cases may be scanned in any order. @param {string} text */
function fieldFor(text) {
  if (MASTER_CODE.test(text)) return fields.master;
  return focusedField() ?? nextField();
}

function nextField() {
  if (!checked.checked) return fields.master;
  return fields.first.value ? fields.last : fields.first;
}

/** Packs once everything is there; says what is missing otherwise. */
function goOn(isPressed = false) {
  if (each) return each.pack(fields.master);
  const wanted = checked.checked ? ["first", "last", "master"] : ["master"];
  const missing = wanted.find((name) => !fields[name].value.trim());
  keep();
  if (missing) {
    if (isPressed) fields[missing].focus();
    return show("idle", say(`verdict.${missing}_missing`), "");
  }
  return change("/api/manufacturer/link-to-master-from-queue", {
    batch_id: batch,
    order_id: order,
    master_code: fields.master.value.trim(),
    first_code: (checked.checked && fields.first.value.trim()) || null,
    last_code: (checked.checked && fields.last.value.trim()) || null,
    station: station || null,
  });
}

const correcting = () => import("./correcting.js");
/** The modules that explain the answers of the other changes. @type {Record<string, () => Promise<any>>} */
const PARTS = {
  "unlink-from-master": correcting,
  "move-case": correcting,
  "link-to-master": () => import("./each-unit.js"),
};

/** @param {string} path @param {object} body */
export async function change(path, body) {
  const why = whyNot();
  if (why) return tellNotTaken(say(`press.not_now_${why}`));
  show("busy", say("verdict.busy"), "");
  const answer = press({ path, body }, showWaiting);
  settle(null);
  finish(await answer);
}

/** @param {Answer} answer */
async function finish(answer) {
  for (const field of Object.values(fields)) field.value = "";
  settle(answer.ok ? null : answer);
  if (answer.ok) {
    const part = await PARTS[answer.press.path.split("/").pop() ?? ""]?.().catch(() => ({ read: () => ({ title: say("verdict.done"), text: "" }) }));
    const { title, text } = part ? part.read(answer) : packed(answer.body);
    show("good", title, text);
    soundGood();
  } else showRefusal(answer);
  document.body.dispatchEvent(new Event("packed"));
}

/** @param {any} body */
function packed(body) {
  const box = body.master_code_info;
  const notes = [say("verdict.next")];
  if (body.skipped) notes.unshift(say("verdict.skipped", body.skipped));
  if (body.left_queue.length) notes.unshift(say("verdict.left_queue", { codes: body.left_queue.join(", ") }));
  const values = { units: box.actual_units, first: box.first_code, last: box.last_code, check: say(`verdict.${box.completeness}`) };
  return {
    title: say("verdict.packed", { case: box.case_number }),
    text: [say("verdict.packed_text", values), ...notes].join(" "),
  };
}

/** Locks the page at once. refusals.js adds text and choices. @param {Answer} answer */
async function showRefusal(answer) {
  const { title, text } = sayProblem(answer.body);
  refuse(title, "");
  if (answer.body.results) each?.mark(answer.body.results);
  const part = await import("./refusals.js").catch(() => null);
  if (refusal !== answer) return;
  if (part) part.explain(answer, acknowledge);
  else element("verdict-text").textContent = text;
}

/** Shows an error, which locks the page. @param {string} title @param {string} text */
function refuse(title, text) {
  showError(title, text, [{ label: say("verdict.understood"), run: acknowledge }]);
  soundBad();
  scanner.clear();
  scanner.fail();
}

function acknowledge() {
  settle(null);
  forgetNotTaken();
  sayNext();
}

/** @param {Answer | null} answer */
function settle(answer) {
  refusal = answer;
  keep();
}

function keep() {
  const scans = Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, field.value]));
  if (refusal || Object.values(scans).some(Boolean)) sessionStorage.setItem(KEPT, JSON.stringify({ scans, refusal }));
  else sessionStorage.removeItem(KEPT);
}

function restore() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
  for (const [name, value] of Object.entries(kept.scans ?? {})) fields[name].value = value;
  const resumed = waitingPress()?.page === location.pathname && resume(showWaiting);
  if (resumed) {
    showWaiting();
    resumed.then(finish);
  } else if (kept.refusal) {
    refusal = kept.refusal;
    showRefusal(kept.refusal);
  }
}

/** The field that shows what is being typed by hand. @type {{field: HTMLInputElement, before: string} | null} */
let echoed = null;

function echo() {
  const typed = isLocked() ? null : scanner.pending;
  if (!typed) return endEcho();
  const field = echoed?.field ?? focusedField() ?? nextField();
  echoed ??= { field, before: field.value };
  field.value = echoed.before + typed.raw;
}

function endEcho() {
  if (echoed) echoed.field.value = echoed.before;
  echoed = null;
}

/** Returns whether people write there: then its keys are no scan. @param {EventTarget | null} target */
function isForPeople(target) {
  if (document.querySelector("dialog[open]")) return true;
  if (target instanceof HTMLSelectElement) return true;
  if (!(target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement)) return false;
  return !Object.values(fields).some((field) => field === target) && target.type !== "checkbox";
}

// A scan counts wherever the focus is. An Enter that ends a scan acknowledges no error.
document.addEventListener("keydown", (event) => {
  if (isForPeople(event.target)) return;
  const isOfScan = scanner.press(event);
  echo();
  if (isOfScan) return event.preventDefault();
  if (!isLocked() || (event.key !== " " && event.key !== "Enter") || event.target instanceof HTMLButtonElement) return;
  acknowledge();
  event.preventDefault();
});

// The camera's panel covers the lower half of a phone: the answer is scrolled above it.
document.addEventListener("scanned", (event) => {
  scanner.paste(/** @type {CustomEvent<string>} */ (event).detail);
  element("verdict").scrollIntoView();
});

element("pack").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  // An Enter in an empty field does nothing.
  const isPressed = !(document.activeElement instanceof HTMLInputElement);
  const hasScans = Object.values(fields).some((field) => field.value.trim());
  if ((isPressed || hasScans) && !isLocked() && !whyNot()) goOn(isPressed);
});
element("start-shift").addEventListener("click", async () => {
  await startShift();
  element("start-shift").replaceWith(say("verdict.shift_started"));
});

/** Shows or hides the fields of the check scans. */
function showChecks() {
  for (const field of [fields.first, fields.last]) /** @type {HTMLElement} */ (field.parentElement).hidden = !checked.checked;
  line.querySelector(".scans").classList.toggle("one", !checked.checked);
}

checked.checked = localStorage.getItem(CHECKED) === "true";
checked.addEventListener("change", () => {
  localStorage.setItem(CHECKED, String(checked.checked));
  showChecks();
});
showChecks();

new MutationObserver(() => isNext() && sayNext()).observe(element("queue"), { childList: true });
restore();
