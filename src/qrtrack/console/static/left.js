// @ts-check
// Shows an unanswered press, or an unanswered submission of a reverse job, that another person left in this tab. The
// person who is signed in now can discard it. It is sent when the person who made it signs in again in this tab. What
// another person has only typed is deleted.

import { person, waitingPress, whyNotNow } from "./send.js";
import { isKnown, say } from "./texts.js";

const PRESS = "qrtrack.press";
const JOBS = "qrtrack.reverse-job.";
const DRAFTS = "qrtrack.exclude.";
const SHORT = 8;

/** @typedef {{by: string, what: string, keys: string[]}} Left `keys`: its keys in sessionStorage. */

for (const key of Object.keys(sessionStorage)) {
  if (key.startsWith(DRAFTS) && !key.endsWith(`.${person}`)) sessionStorage.removeItem(key);
}

const [left] = [...pressOfAnother(), ...submissionsOfOthers()];
// The screen on the wall does not show it.
const notice = document.getElementById("left");
if (left && notice) tell(left, notice);

/** @param {Left} left @param {HTMLElement} notice */
function tell({ by, what, keys }, notice) {
  const user = by.slice(by.indexOf("/") + 1);
  const who = user.length > 2 * SHORT ? `${user.slice(0, SHORT)}…` : user;
  const [text, discard] = notice.children;
  text.textContent = say("press.left", { who, what });
  notice.title = user;
  notice.hidden = false;
  discard.addEventListener("click", () => {
    for (const key of keys) sessionStorage.removeItem(key);
    location.reload();
  });
  if (keys.includes(PRESS) && document.getElementById("verdict")) tellLine();
}

/** Says on the packing page that no scan is taken until then. */
async function tellLine() {
  const { show } = await import("./verdict.js");
  show("warn", say("verdict.another"), say("press.not_now_another"));
}

/** @returns {Left[]} */
function pressOfAnother() {
  const press = waitingPress();
  if (!press || whyNotNow() !== "another") return [];
  const known = `press.what_${press.path.split("/").pop()}`;
  const what = isKnown(known) ? say(known, press.body) : (press.label ?? press.path);
  // The scans of the packing page are kept under another key than the press.
  return [{ by: press.by ?? "–", what, keys: [PRESS, `qrtrack.line.${press.body?.batch_id}`] }];
}

/** @returns {Left[]} */
function submissionsOfOthers() {
  const kept = Object.keys(sessionStorage).filter((key) => key.startsWith(JOBS) && !key.endsWith(`.${person}`));
  const waiting = kept.filter((key) => JSON.parse(sessionStorage.getItem(key) ?? "{}").submission);
  // The key ends with `{batch}.{organisation}/{user}`.
  return waiting.map((key) => ({ by: key.slice(key.indexOf(".", JOBS.length) + 1), what: say("press.what_submit"), keys: [key] }));
}
