// @ts-check
// The packing page: a scan comes in, the API packs, and the answer stands there big enough for two metres. An error
// stops the line until somebody has acknowledged it; after a success the next scan needs no touch.

import { Scanner } from "./scan.js";
import { press, resume, waitingPress } from "./send.js";
import { soundBad, soundGood, startShift } from "./sounds.js";
import { say, sayProblem } from "./texts.js";

/** @template {HTMLElement} [T=HTMLElement] @param {string} id @returns {T} */
const element = (id) => /** @type {T} */ (document.getElementById(id));
const line = element("line");
/** @type {Record<string, HTMLInputElement>} */
const fields = { master: element("master"), first: element("first"), last: element("last") };
const checked = /** @type {HTMLInputElement} */ (element("checked"));
const CHECKED = "qrtrack.checked";
const MASTER_CODE = /-C\d+$/i;
const SHOWN_CHOICES = 9;

let isLocked = false;

const scanner = new Scanner({ onScan: take });

/** @param {{text: string, layout: string}} scan */
function take(scan) {
  if (isLocked || waitingPress()) return;
  if (scan.layout === "wrong") return showError(say("scan.wrong_layout_title"), say("scan.wrong_layout"));
  fieldFor(scan.text).value = scan.text;
  goOn();
}

/** Units and cases are told apart by their codes, so that they can be scanned in any order. @param {string} text */
function fieldFor(text) {
  const focused = Object.values(fields).find((field) => field === document.activeElement);
  if (MASTER_CODE.test(text)) return fields.master;
  if (focused) return focused;
  if (!checked.checked) return fields.master;
  return fields.first.value ? fields.last : fields.first;
}

/** Packs once everything is there; says what is missing otherwise. */
function goOn() {
  const wanted = checked.checked ? ["first", "last", "master"] : ["master"];
  const missing = wanted.find((name) => !fields[name].value.trim());
  if (missing) return show("idle", say(`verdict.${missing}_missing`), "");
  return pack({});
}

/** @param {object} more */
function pack(more) {
  const { batch, order, station } = line.dataset;
  const body = {
    batch_id: batch,
    order_id: order,
    master_code: fields.master.value.trim(),
    first_code: fields.first.value.trim() || null,
    last_code: fields.last.value.trim() || null,
    station: station || null,
    ...more,
  };
  return change("/api/manufacturer/link-to-master-from-queue", body);
}

/** What the answer of a change means, by the path that it was sent to: after a reload only that is known. */
/** @type {Record<string, (body: any, asked: any) => {title: string, text: string}>} */
const READERS = {
  "/api/manufacturer/link-to-master-from-queue": packed,
  "/api/manufacturer/unlink-from-master": undone,
  "/api/manufacturer/move-case": moved,
  "/api/manufacturer/reverse-job/submit": () => ({ title: say("exclude.submitted_title"), text: say("exclude.submitted") }),
};

/** @param {string} path @param {object} body */
export async function change(path, body) {
  if (waitingPress()) return;
  show("busy", say("verdict.busy"), "");
  finish(await press({ path, body }, showWaiting));
}

/** @param {import("./send.js").Answer} answer */
function finish(answer) {
  clear();
  if (answer.ok) {
    const { title, text } = READERS[answer.press.path](answer.body, answer.press.body);
    show("good", title, text);
    soundGood();
  } else {
    const { title, text } = sayProblem(answer.body);
    showError(title, text, choicesOf(answer));
    if (hasManyCandidates(answer.body)) askForMissing(answer);
  }
  document.body.dispatchEvent(new Event("packed"));
}

/** @param {any} body */
function packed(body) {
  const box = body.master_code_info;
  return {
    title: say("verdict.packed", { case: box.case_number }),
    text: say("verdict.packed_text", {
      units: box.actual_units,
      first: box.first_code,
      last: box.last_code,
      check: say(`verdict.${box.completeness}`),
    }),
  };
}

/** @param {any} body @param {any} asked */
function undone(body, asked) {
  const values = { case: asked.master_code.split("-C").pop().replace(/^0+/, ""), units: body.unlinked_count };
  return { title: say("verdict.undone", values), text: say("verdict.undone_text", { ...values, requeued: body.requeued }) };
}

/** @param {any} body */
function moved(body) {
  const values = { case: body.master_code_info.case_number, units: body.moved_count };
  return { title: say("verdict.moved", values), text: say("verdict.moved_text", values) };
}

/**
 * The ways out of a refusal that need a person's decision: each sends the same case again.
 * @param {import("./send.js").Answer} answer
 * @returns {{label: string, run: () => void}[]}
 */
function choicesOf({ body, press: asked }) {
  const again = (/** @type {object} */ more) => () => change(asked.path, { ...asked.body, ...more });
  switch (body.type) {
    case "urn:qrtrack:problem:count-drift":
      if (hasManyCandidates(body)) return [];
      return body.codes.map((/** @type {string} */ code) => ({ label: say("verdict.missing_choice", { code }), run: () => sendMissing(asked, code) }));
    case "urn:qrtrack:problem:not-enough-prepared":
      return body.available > 0
        ? [{ label: say("problem.partial_choice", body), run: again({ allow_partial: true }) }]
        : [];
    default:
      return [];
  }
}

/** More than fit on a tablet as buttons: then the code is scanned or typed. @param {any} problem */
function hasManyCandidates(problem) {
  return problem.type === "urn:qrtrack:problem:count-drift" && problem.codes.length > SHOWN_CHOICES;
}

/** @param {import("./send.js").Answer} answer */
function askForMissing({ body, press: asked }) {
  const values = { ...body, first: body.codes[0], last: body.codes.at(-1) };
  element("verdict-text").textContent = say("problem.count-drift_many", values);
  const form = /** @type {HTMLFormElement} */ (element("missing"));
  form.hidden = false;
  form.onsubmit = (event) => {
    event.preventDefault();
    isLocked = false;
    sendMissing(asked, /** @type {HTMLInputElement} */ (element("missing-code")).value.trim());
  };
}

/** @param {{path: string, body: any}} asked @param {string} code */
function sendMissing({ path, body }, code) {
  change(path, { ...body, missing_codes: [...(body.missing_codes ?? []), code] });
}

/** @param {"idle" | "busy" | "good" | "bad" | "warn"} kind @param {string} title @param {string} text */
function show(kind, title, text) {
  isLocked = kind === "bad";
  element("verdict").className = `verdict ${kind}`;
  element("verdict-title").textContent = title;
  element("verdict-text").textContent = text;
  element("choices").replaceChildren();
  element("missing").hidden = true;
}

function showWaiting() {
  show("warn", say("verdict.waiting"), say("verdict.waiting_text"));
}

/** @param {string} title @param {string} text @param {{label: string, run: () => void}[]} [choices] */
function showError(title, text, choices = []) {
  show("bad", title, text);
  const understood = { label: say(choices.length ? "verdict.stop" : "verdict.understood"), run: acknowledge };
  element("choices").replaceChildren(
    ...[...choices, understood].map(({ label, run }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = label;
      button.addEventListener("click", () => {
        isLocked = false;
        run();
      });
      return button;
    }),
  );
  soundBad();
}

function acknowledge() {
  show("idle", say("verdict.idle"), say("verdict.idle_todo"));
}

function clear() {
  for (const field of Object.values(fields)) field.value = "";
}

/** A field where people write: what is typed there is theirs. @param {EventTarget | null} target */
function isForPeople(target) {
  if (document.querySelector("dialog[open]")) return true;
  if (!(target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement)) return false;
  return !Object.values(fields).some((field) => field === target) && target.type !== "checkbox";
}

// On the document: a scan counts wherever the focus is.
document.addEventListener("keydown", (event) => {
  if (isForPeople(event.target)) return;
  if (isLocked) {
    const isOnChoice = event.target instanceof HTMLButtonElement;
    if ((event.key === " " || event.key === "Enter") && !isOnChoice) {
      acknowledge();
      event.preventDefault();
    }
    return;
  }
  if (scanner.press(event)) event.preventDefault();
});

// The camera. On a phone its panel covers the lower half: the answer moves into the upper one.
document.addEventListener("scanned", (event) => {
  scanner.paste(/** @type {CustomEvent<string>} */ (event).detail);
  element("verdict").scrollIntoView();
});

element("pack").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!isLocked && !waitingPress()) goOn();
});
element("keyboard").addEventListener("click", () => {
  for (const field of Object.values(fields)) field.inputMode = "text";
  fields.master.focus();
});
element("start-shift").addEventListener("click", async (event) => {
  await startShift();
  /** @type {HTMLElement} */ (event.target).hidden = true;
});

checked.checked = localStorage.getItem(CHECKED) === "true";
checked.addEventListener("change", () => localStorage.setItem(CHECKED, String(checked.checked)));

if (waitingPress()?.page === location.pathname) {
  showWaiting();
  resume(showWaiting)?.then(finish);
}
