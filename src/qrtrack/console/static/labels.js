// @ts-check
// The labels page of a batch: shows the parts of the form that belong to the choices, says in advance what will be
// printed, lets the person click the label to begin with, and remembers the printer's correction on this computer.
// changes.js sends the form.

import { fieldsOf } from "./changes.js";
import { send } from "./send.js";
import { tellIfSlow } from "./slow.js";
import { fill, isKnown, say } from "./texts.js";

const KEPT = "qrtrack.calibration";
// The choices that were last made on this computer: file format, dpi, and the label format for units and for cases.
const STOCK = "qrtrack.label-stock";
const PAUSE_MILLISECONDS = 300;

const form = document.getElementById("labels");
if (form instanceof HTMLFormElement) prepare(form);

// Fills the addresses of links from fields: the case's label, the calibration page.
for (const event of ["input", "change"]) document.addEventListener(event, fillLinks);
fillLinks();

// If there is no printer, Enter fetches the file.
document.getElementById("case-label")?.addEventListener("submit", (event) => {
  const form = /** @type {HTMLFormElement} */ (event.target);
  if (form.dataset.path) return;
  event.preventDefault();
  form.querySelector("a")?.click();
});

// If units were printed before, the form asks for a reason. For other refusals the page has its own texts.
document.addEventListener("refused", (event) => {
  const { detail } = /** @type {CustomEvent} */ (event);
  const asking = /** @type {HTMLElement} */ (event.target).querySelector("[data-reprint]");
  detail.text = reasonOf(detail.problem);
  if (!detail.problem.printed || !(asking instanceof HTMLFieldSetElement)) return;
  askForReason(asking, detail.problem);
  event.preventDefault();
  asking.querySelector("input")?.focus();
});

/** Returns the text for a refusal, by the code of the field or by the type of the problem. @param {any} problem */
function reasonOf(problem) {
  const error = problem.errors?.[0];
  const keys = [error?.code, (problem.type ?? "").split(":").pop()].map((name) => `label_refusal.${name}`);
  const key = keys.find(isKnown);
  if (!key) return say("problem.unknown", { detail: error?.detail ?? problem.detail });
  const { presets, ...params } = error?.params ?? {};
  return say(presets?.length === 0 ? `${key}_alone` : key, { ...params, presets: presets?.join(", ") });
}

/** @param {HTMLFieldSetElement} asking @param {any} problem null if nothing was printed before */
function askForReason(asking, problem) {
  asking.hidden = asking.disabled = !problem;
  if (!problem) return;
  const count = /** @type {HTMLElement} */ (asking.querySelector("[data-reprint-count]"));
  count.textContent = say("labelling.printed", { count: problem.printed_count });
  const ranges = problem.printed.map((/** @type {any} */ range) => {
    const item = document.createElement("li");
    item.textContent = range.units === 1 ? range.first_code : `${range.first_code} – ${range.last_code}`;
    return item;
  });
  asking.querySelector("[data-reprint-ranges]")?.replaceChildren(...ranges.slice(0, 10));
}

function fillLinks() {
  for (const link of /** @type {NodeListOf<HTMLAnchorElement>} */ (document.querySelectorAll("a[data-link]"))) {
    const fields = fieldsOf(/** @type {HTMLFormElement} */ (link.closest("form")));
    const names = [...(link.dataset.link ?? "").matchAll(/\{(\w+)\}/g)].map((found) => found[1]);
    const are = names.every((name) => name in fields && isValid(link, name));
    if (are) link.href = fill(link.dataset.link ?? "", fields, encodeURIComponent);
    else link.removeAttribute("href");
  }
}

/** @param {HTMLElement} link @param {string} name */
function isValid(link, name) {
  const field = link.closest("form")?.querySelector(`[name="${name}"]`);
  return !(field instanceof HTMLInputElement) || field.validity.valid;
}

/** @param {HTMLFormElement} form */
function prepare(form) {
  const sheet = /** @type {HTMLElement} */ (form.querySelector("#sheet"));
  const startAt = named(form, "start_at");
  const reprint = /** @type {HTMLFieldSetElement} */ (form.querySelector("[data-reprint]"));
  const will = /** @type {HTMLElement} */ (form.querySelector("#will"));
  /** @type {any} What the last dry run counted. */
  let counted = null;
  // Whether another label job has reserved the units, perhaps the one that was just ordered here. It ends by itself.
  let isReserved = false;
  let asked = 0;
  let timer = 0;

  restoreStock(form);
  restoreCorrection(form);
  showParts(form);
  showSheet();
  // Before this event, htmx does not react.
  document.addEventListener("DOMContentLoaded", showSheet);

  form.addEventListener("change", (event) => {
    const name = /** @type {HTMLInputElement} */ (event.target).name;
    if (name === "what" || name === "format") choosePreset(form);
    // This comes before the picture is requested, because fields of hidden parts are not sent.
    showParts(form);
    if (["what", "format", "preset"].includes(name)) {
      startAt.value = "1";
      showSheet();
    }
    if (["format", "preset", "dpi"].includes(name)) keepStock(form);
    keepCorrection(form, event);
    countSoon();
  });
  form.addEventListener("input", countSoon);
  document.body.addEventListener("tick", () => {
    if (!isReserved) return;
    isReserved = false;
    count();
  });
  new MutationObserver(paint).observe(sheet, { childList: true });
  sheet.addEventListener("click", (event) => {
    const place = event.target instanceof Element && event.target.closest("[data-place]");
    if (!place) return;
    startAt.value = place.getAttribute("data-place") ?? "1";
    startAt.dispatchEvent(new Event("change", { bubbles: true }));
  });
  form.querySelector("#forget-correction")?.addEventListener("click", () => {
    localStorage.removeItem(KEPT);
    restoreCorrection(form);
    countSoon();
  });

  function showSheet() {
    const places = Number(chosen(form).dataset.places);
    startAt.max = String(places);
    /** @type {HTMLElement} */ (form.querySelector("[data-many]")).hidden = places === 1;
    showCorrection(form);
    document.body.dispatchEvent(new Event("preset"));
    countSoon();
  }

  function countSoon() {
    clearTimeout(timer);
    timer = window.setTimeout(count, PAUSE_MILLISECONDS);
  }

  /** Asks the server what it would print. Sends no reason, so that the answer names units that were printed before. */
  async function count() {
    const mine = ++asked;
    const { reason: _, ...fields } = fieldsOf(form);
    const asking = send({ path: form.dataset.path ?? "", body: { ...fields, dry_run: true } });
    const answer = await tellIfSlow(asking, () => mine === asked && tellWorking());
    if (mine !== asked) return;
    const isPrinted = Boolean(answer?.body.printed);
    askForReason(reprint, isPrinted ? answer?.body : null);
    counted = answer?.ok ? answer.body : null;
    will.hidden = isPrinted;
    isReserved = Boolean(answer?.body.type?.endsWith(":labels-reserved"));
    will.className = !answer || answer.ok ? "notice" : isReserved ? "notice warn" : "notice bad";
    will.textContent = !answer ? say("press.no_answer") : answer.ok ? sayCount() : reasonOf(answer.body);
    paint();
  }

  function tellWorking() {
    will.hidden = false;
    will.className = "notice";
    will.textContent = say("press.working");
  }

  function sayCount() {
    const places = Number(chosen(form).dataset.places);
    const used = Number(startAt.value) - 1 + counted.label_count;
    const left = counted.page_count * places - used;
    const said = [say(places > 1 ? "labelling.will_sheets" : "labelling.will", counted)];
    if (counted.void_count) said.push(say("labelling.will_void", counted));
    if (left) said.push(say("labelling.will_left", { left, next: places - left + 1 }));
    return said.join(" ");
  }

  /** Shows on the picture which labels are used up, and which are printed on the first sheet. */
  function paint() {
    const first = Number(startAt.value);
    const end = first + (counted?.label_count ?? Infinity);
    for (const place of sheet.querySelectorAll("[data-place]")) {
      const number = Number(place.getAttribute("data-place"));
      place.setAttribute("class", `place ${number < first ? "gone" : number < end ? "filled" : ""}`);
    }
  }
}

/** @param {HTMLFormElement} form @param {string} name @returns {HTMLInputElement} */
function named(form, name) {
  return /** @type {HTMLInputElement} */ (form.elements.namedItem(name));
}

/** Returns the field of the chosen format. @param {HTMLFormElement} form @returns {HTMLInputElement} */
function chosen(form) {
  return /** @type {HTMLInputElement} */ (form.querySelector("[name=preset]:checked"));
}

/** Chooses the format that was last used here for such labels, or else the usual one. @param {HTMLFormElement} form */
function choosePreset(form) {
  const kind = kindOf(form);
  const usual = JSON.parse(form.dataset.presets ?? "{}")[kind];
  const [kept, first] = [stock()[kind], usual].map((name) => form.querySelector(`[name=preset][value="${name}"]`));
  /** @type {HTMLInputElement} */ (kept ?? first).checked = true;
}

/** @param {HTMLFormElement} form */
function kindOf(form) {
  return `${named(form, "what").value}-${named(form, "format").value}`;
}

/** @returns {Record<string, string>} */
function stock() {
  return JSON.parse(localStorage.getItem(STOCK) ?? "{}");
}

/** @param {HTMLFormElement} form */
function keepStock(form) {
  const [format, dpi] = ["format", "dpi"].map((name) => named(form, name).value);
  localStorage.setItem(STOCK, JSON.stringify({ ...stock(), format, dpi, [kindOf(form)]: chosen(form).value }));
}

/** @param {HTMLFormElement} form */
function restoreStock(form) {
  const { format, dpi } = stock();
  if (format) named(form, "format").value = format;
  if (dpi) named(form, "dpi").value = dpi;
  choosePreset(form);
}

/** Shows the parts for the choices, and sends only their fields. @param {HTMLFormElement} form */
function showParts(form) {
  for (const part of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("[data-when]"))) {
    const [name, value] = (part.dataset.when ?? "").split("=");
    const field = /** @type {any} */ (form.elements.namedItem(name));
    const isOn = field.type === "checkbox" ? field.checked && !field.disabled : field.value === value;
    part.hidden = !isOn;
    for (const inner of part.querySelectorAll("input, select")) /** @type {HTMLInputElement} */ (inner).disabled = !isOn;
  }
}

/** Returns the correction of this computer's printer. @returns {Record<string, number>} */
function correction() {
  return JSON.parse(localStorage.getItem(KEPT) ?? "{}");
}

/** @param {HTMLFormElement} form */
function restoreCorrection(form) {
  const kept = correction();
  for (const field of /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll("[data-keep]"))) {
    field.value = String(kept[field.dataset.keep ?? ""] ?? "");
  }
  showCorrection(form);
}

/** Stores a changed correction. A measured ruler becomes a scale. @param {HTMLFormElement} form @param {Event} event */
function keepCorrection(form, event) {
  const field = /** @type {HTMLInputElement} */ (event.target);
  const { ruler, keep } = field.dataset;
  if (!(ruler || keep) || !field.validity.valid) return;
  const value = ruler && field.value ? rulerOf(form, ruler) / Number(field.value) : Number(field.value);
  const name = ruler ? `scale_${ruler}` : (keep ?? "");
  const { [name]: _, ...others } = correction();
  const isNone = !field.value || Math.abs(value - (ruler ? 1 : 0)) < 0.00005;
  localStorage.setItem(KEPT, JSON.stringify(isNone ? others : { ...others, [name]: Number(value.toFixed(4)) }));
  restoreCorrection(form);
}

/** Returns the length of a printed ruler in millimetres. @param {HTMLFormElement} form @param {string} along */
function rulerOf(form, along) {
  return Number(chosen(form).getAttribute(`data-ruler-${along}`));
}

/** @param {HTMLFormElement} form */
function showCorrection(form) {
  const kept = correction();
  for (const field of /** @type {NodeListOf<HTMLInputElement>} */ (form.querySelectorAll("[data-ruler]"))) {
    const length = rulerOf(form, field.dataset.ruler ?? "");
    const scale = kept[`scale_${field.dataset.ruler}`];
    field.placeholder = String(length);
    [field.min, field.max] = [(length / 1.1).toFixed(1), (length / 0.9).toFixed(1)];
    field.value = scale ? (length / scale).toFixed(1) : "";
  }
  const { dx = 0, dy = 0, scale_x = 1, scale_y = 1 } = kept;
  const said = /** @type {HTMLElement} */ (form.querySelector("#correction-said"));
  const percent = (/** @type {number} */ scale) => Number((scale * 100).toFixed(1));
  said.textContent = Object.keys(kept).length
    ? say("labelling.correction_said", { dx, dy, across: percent(scale_x), down: percent(scale_y) })
    : say("labelling.correction_none");
}
