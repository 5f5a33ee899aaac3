// @ts-check
// The damaged units: each pasted code is checked while it is typed, and the job prepares all others.

import { press, waitingPress } from "./send.js";
import { say, sayProblem } from "./texts.js";

const PATH = "/api/manufacturer/reverse-job/submit";
const PAUSE_MILLISECONDS = 400;
const SHOWN_MARKS = 30;

/** @param {string} id */
const element = (id) => /** @type {any} */ (document.getElementById(id));
const codes = element("exclude-codes");
let newest = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let pause;

codes.addEventListener("input", () => {
  clearTimeout(pause);
  newest += 1;
  if (!codes.value.trim()) return mark([], "", true);
  mark([], say("exclude.reading"), false);
  pause = setTimeout(check, PAUSE_MILLISECONDS);
});

/** What the list would do now; changes nothing. */
async function check() {
  const asked = newest;
  let answer;
  try {
    const response = await fetch(PATH, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...order(), dry_run: true }),
    });
    answer = { ok: response.ok, body: await response.json() };
  } catch {
    if (asked === newest) pause = setTimeout(check, 10 * PAUSE_MILLISECONDS);
    return;
  }
  // Somebody has typed on meanwhile.
  if (asked !== newest) return;
  if (!answer.ok) return mark([], say("exclude.failed", { detail: answer.body.errors?.[0]?.detail ?? answer.body.detail }), false);
  const { unknown_codes, unknown_count, unavailable_codes, exclude_count, would_prepare } = answer.body;
  const marks = [
    ...unknown_codes.map((/** @type {string} */ code) => ({ code, kind: "bad" })),
    ...unavailable_codes.map((/** @type {string} */ code) => ({ code: `${code} · ${say("exclude.unavailable")}`, kind: "warn" })),
  ];
  if (unknown_count) return mark(marks, say("exclude.unknown", { count: unknown_count }), false);
  mark(marks, say("exclude.counted", { count: exclude_count, prepare: would_prepare }), true);
}

/** @param {{code: string, kind: string}[]} marks @param {string} text @param {boolean} isFit */
function mark(marks, text, isFit) {
  element("marks").replaceChildren(
    ...marks.slice(0, SHOWN_MARKS).map(({ code, kind }) => {
      const shown = document.createElement("span");
      shown.className = `mark ${kind}`;
      shown.textContent = code;
      return shown;
    }),
  );
  element("exclude-said").textContent = text;
  element("submit-job").disabled = !isFit;
}

function order() {
  const { batch, order: orderId } = element("line").dataset;
  return { batch_id: batch, order_id: orderId, exclude_codes: codes.value.trim() ? [codes.value] : [] };
}

element("exclude").addEventListener("submit", async (/** @type {Event} */ event) => {
  event.preventDefault();
  if (waitingPress()) return mark([], say("press.other"), true);
  element("submit-job").disabled = true;
  const answer = await press({ path: PATH, body: order() }, () => mark([], say("verdict.waiting"), false));
  element("submit-job").disabled = false;
  if (!answer.ok) return mark([], sayProblem(answer.body).text, true);
  codes.value = "";
  mark([], say("exclude.submitted"), true);
  document.body.dispatchEvent(new Event("tick"));
});

// What was pasted before this script was there, or what the browser kept over a reload.
if (codes.value.trim()) codes.dispatchEvent(new Event("input"));
