// @ts-check
// The list of damaged units, checked while it is typed or scanned; the reverse job prepares all others. The tab keeps
// the list and the job of each batch.

import { ask } from "./asking.js";
import { DRAFT } from "./on-demand.js";
import { createReverseJob } from "./reverse-job.js";
import { takeScans } from "./scan-field.js";
import { comeAnew, OTHER_USER, person, send, signInAndComeBack, whyNotNow } from "./send.js";
import { say, sayProblem } from "./texts.js";
import { element } from "./verdict.js";

const PATH = "/api/manufacturer/reverse-job/submit";
const PAUSE_MILLISECONDS = 400;
const SHOWN_MARKS = 30;
const JOBS = "qrtrack.reverse-job.";

const codes = /** @type {HTMLTextAreaElement} */ (element("exclude-codes"));
const { batch, order: orderId } = element("line").dataset;
// Nobody else's submission is sent in this person's name.
const MINE = `.${person}`;
const KEPT = JOBS + batch + MINE;
const job = createReverseJob({ storageKey: KEPT });
let newest = 0;
let isFit = true;
/** The answer to the dry run of the present list; null until it is checked. @type {any} */
let counted = null;
/** Whether the button was pressed before the list was checked. Then the list is sent after the check. */
let isWanted = false;
/** @type {unknown} */
let toldError = null;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let pause;

function changed() {
  clearTimeout(pause);
  newest += 1;
  counted = null;
  isWanted = false;
  if (codes.value.trim()) sessionStorage.setItem(DRAFT, codes.value);
  else sessionStorage.removeItem(DRAFT);
  if (!codes.value.trim()) return mark([], "", true);
  mark([], say("exclude.reading"), true);
  pause = setTimeout(check, PAUSE_MILLISECONDS);
}

/** Asks the API by a dry run what the list would do. */
async function check() {
  const asked = newest;
  const answer = await send({ path: PATH, body: { ...order(), dry_run: true } });
  if (isWanted && answer?.status === 401) return signInAndComeBack();
  // The list has changed in the meantime.
  if (asked !== newest) return;
  if (!answer) {
    pause = setTimeout(check, 10 * PAUSE_MILLISECONDS);
    return;
  }
  if (!answer.ok) return mark([], say("exclude.failed", { detail: answer.body.errors?.[0]?.detail ?? answer.body.detail }), false);
  const { unknown_codes, unknown_count, unavailable_codes, exclude_count, would_prepare } = answer.body;
  const told = (/** @type {string} */ code, /** @type {string} */ key) => ({ kind: "warn", text: `${code} · ${say(key)}` });
  const marks = [
    ...unknown_codes.map((/** @type {string} */ code) => ({ kind: "bad", text: code })),
    ...repeated().map((code) => told(code, "exclude.repeated")),
    ...unavailable_codes.map((/** @type {string} */ code) => told(code, "exclude.unavailable")),
  ];
  if (!unknown_count) {
    counted = answer.body;
    mark(marks, say("exclude.counted", { count: exclude_count, prepare: would_prepare }), true);
    return isWanted && submit();
  }
  mark(marks, say("exclude.unknown", { count: unknown_count }), false);
  const { suggest } = await import("./suggesting.js");
  if (asked === newest) suggest(unknown_codes, codes, element("marks"), changed);
}

/** Returns the codes that the list contains more than once. */
function repeated() {
  const listed = codes.value.toUpperCase().split(/[\s,;]+/).filter(Boolean);
  return [...new Set(listed.filter((code, place) => listed.indexOf(code) !== place))];
}

/** @param {{kind: string, text: string}[]} marks @param {string} text @param {boolean} mayLeave */
function mark(marks, text, mayLeave) {
  isFit = mayLeave;
  element("marks").replaceChildren(
    ...marks.slice(0, SHOWN_MARKS).map(({ kind, text: words }) => {
      const shown = document.createElement("span");
      shown.className = `mark ${kind}`;
      shown.textContent = words;
      return shown;
    }),
  );
  element("exclude-said").textContent = text;
  enable();
}

function enable() {
  element("submit-job").disabled = !isFit || job.state.isSubmitting;
}

function order() {
  const [manufacturer_org_id, user_id] = person.split(/\/(.*)/);
  return { manufacturer_org_id, user_id, batch_id: batch, order_id: orderId, exclude_codes: codes.value.trim() ? [codes.value] : [] };
}

/** @param {import("./reverse-job.js").ReverseJobState} state */
function showJob({ isSubmitting, jobStatus, error }) {
  const failed = /** @type {import("./reverse-job.js").ReverseJobError | null} */ (error);
  if (failed?.status === 401) return signInAndComeBack();
  if (failed?.type === OTHER_USER) return comeAnew();
  // packing.js sends nothing while this attribute is set.
  element("line").toggleAttribute("data-submitting", isSubmitting);
  enable();
  if (isSubmitting) return mark([], say(failed ? "verdict.waiting_text" : "exclude.sending"), true);
  if (failed && failed !== toldError && !failed.isTransient) {
    mark([], sayProblem(failed.problem ?? { detail: failed.message }).text, true);
  }
  toldError = error;
  const progress = element("job-progress");
  progress.hidden = !jobStatus;
  if (!jobStatus) return;
  progress.value = jobStatus.progress;
  const { status, prepared_count: prepared, remaining_to_prepare: remaining } = jobStatus;
  // `begun` names no count: the job has prepared nothing yet, or the answer to its submission has no counts.
  const key = status === "running" && !prepared ? "begun" : status;
  element("job-said").textContent = say(`exclude.job_${key}`, { prepared, remaining });
  if (!["completed", "failed", "cancelled"].includes(status)) return;
  progress.hidden = true;
  // Only a running job is kept for the next page. The queue on the page lists ended jobs too.
  sessionStorage.removeItem(KEPT);
  document.body.dispatchEvent(new Event("tick"));
}

codes.addEventListener("input", changed);
takeScans(codes, () => {
  codes.setRangeText("\n", codes.selectionEnd, codes.selectionEnd, "end");
  changed();
});

element("exclude").addEventListener("submit", (/** @type {Event} */ event) => {
  event.preventDefault();
  const why = whyNotNow();
  if (why) return mark([], say(`press.not_now_${why}`), true);
  isWanted = true;
  if (counted) return submit();
  // The list is not checked yet. It is sent after the check, if it is right.
  clearTimeout(pause);
  mark([], say("exclude.reading"), true);
  check();
});

/** Submits the job. If the list is empty, asks first: a forgotten list would pack damaged units. */
async function submit() {
  isWanted = false;
  const submitted = codes.value;
  if (!submitted.trim()) {
    const { would_prepare: prepare } = counted;
    mark([], "", true);
    counted = null;
    if (!prepare) return mark([], say("exclude.none_left"), true);
    if (!(await ask(say("exclude.all_sure", { prepare }))) || codes.value !== submitted) return;
  }
  job.submitReverseJob(order()).then(() => {
    if (codes.value !== submitted) return;
    codes.value = "";
    changed();
    document.body.dispatchEvent(new Event("tick"));
  }, () => {});
}

job.subscribe(showJob);
showJob(job.state);
// Also delivers this person's unanswered submissions for other batches.
for (const key of Object.keys(sessionStorage)) {
  if (!key.startsWith(JOBS) || !key.endsWith(MINE) || key === KEPT) continue;
  const other = createReverseJob({ storageKey: key });
  other.subscribe(({ jobStatus }) => jobStatus && other.clearReverseJob());
}
codes.value ||= sessionStorage.getItem(DRAFT) ?? "";
if (codes.value.trim() && !job.state.isSubmitting) changed();
