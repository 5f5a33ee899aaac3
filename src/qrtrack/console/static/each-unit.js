// @ts-check
// Packing unit by unit: each unit is scanned into a list, and then the case takes exactly these units. The browser tab
// keeps a list for each batch.

import { change, collectWith } from "./packing.js";
import { say } from "./texts.js";
import { element, show, showNext, tellNotTaken } from "./verdict.js";

const { batch, order, station } = element("line").dataset;
const KEPT = `qrtrack.units.${batch}`;
/** @type {string[]} */
let units = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
/** The reasons why units cannot be packed, by code. @type {Map<string, string>} */
let refused = new Map();

/** @param {string} code */
export function add(code) {
  if (units.includes(code)) return tellNotTaken(say("each.twice", { code }));
  keep([...units, code]);
  show("idle", say("each.scanned", { count: units.length }), say("each.todo"));
}

export function sayNext() {
  if (!units.length) return showNext(say("verdict.first_missing"), say("each.none"));
  showNext(say("each.scanned", { count: units.length }), say("each.todo"));
}

/** @param {HTMLInputElement} master */
export function pack(master) {
  const masterCode = master.value.trim();
  master.value = "";
  if (!units.length) return show("idle", say("each.scanned", { count: 0 }), say("each.none"));
  if (!masterCode) {
    master.focus();
    return show("idle", say("verdict.master_missing"), "");
  }
  const body = { batch_id: batch, order_id: order, master_code: masterCode, codes: units, station: station || null };
  return change("/api/manufacturer/link-to-master", body);
}

/** Empties the list. Returns title and text for the answer. @param {import("./send-types.js").Answer} answer */
export function read({ body }) {
  keep([]);
  const { case_number, actual_units, expected_units } = body.master_code_info;
  const text = say("each.packed_text", { count: body.linked_count, units: actual_units, expected: expected_units });
  return { title: say("verdict.packed", { case: case_number }), text };
}

/** @param {{code: string, accepted: boolean, reason: string}[]} results */
export function mark(results) {
  for (const { code, accepted, reason } of results) if (!accepted) refused.set(code, reason);
  draw();
}

/** @param {string[]} codes */
function keep(codes) {
  units = codes;
  if (!units.length) refused = new Map();
  sessionStorage.setItem(KEPT, JSON.stringify(units));
  draw();
}

/** @param {string} unit */
function reasonFor(unit) {
  // A scanned label contains more than the code.
  return [...refused].find(([code]) => unit.includes(code))?.[1];
}

function draw() {
  element("units-said").textContent = say("each.scanned", { count: units.length });
  element("units").replaceChildren(...units.map((unit) => {
    const button = document.createElement("button");
    const reason = reasonFor(unit);
    button.type = "button";
    button.className = reason ? "code danger" : "code";
    button.textContent = reason ? `${unit} · ${say(`each.${reason}`)}` : unit;
    button.setAttribute("aria-label", say("each.remove", { code: button.textContent }));
    button.addEventListener("click", () => keep(units.filter((other) => other !== unit)));
    return button;
  }));
}

function choose() {
  const isWanted = element("each").checked;
  localStorage.setItem("qrtrack.each", String(isWanted));
  element("each-part").hidden = !isWanted;
  const checked = element("checked");
  if (isWanted && checked.checked) checked.click();
  checked.disabled = isWanted;
  collectWith(isWanted ? { add, sayNext, pack, mark } : null);
}

element("each").addEventListener("change", choose);
choose();
draw();
