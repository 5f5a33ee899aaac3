// @ts-check
// A press is never lost and never doubled. It is kept in sessionStorage with its Idempotency-Key before it is sent, and
// sent again until the server has answered: after a network loss, after a reload, after signing in again; but not in the
// name of another person.

const KEPT = "qrtrack.press";
/** Who is signed in on this page: `organisation/user`. */
export const person = document.body.dataset.person ?? "";
const DELAYS = [1000, 2000, 4000];
/** Another person has signed in, in another tab. */
export const OTHER_USER = "urn:qrtrack:problem:other-user";
const STATUSES_WITHOUT_ANSWER = [502, 503, 504];

/** @import { Answer, Change, Press } from "./send-types.js" */

/** The press that waits for its answer, if there is one. @returns {Press | null} */
export function waitingPress() {
  const kept = sessionStorage.getItem(KEPT);
  return kept ? JSON.parse(kept) : null;
}

/** Why no press can be made now. */
export function whyNotNow() {
  const kept = waitingPress();
  return kept && (kept.by === person ? "waiting" : "another");
}

/**
 * Sends a change to the API until it has answered.
 * @param {Change} change
 * @param {() => void} [onWaiting] Called whenever the server did not answer and the press is sent again.
 * @returns {Promise<Answer>}
 */
export function press(change, onWaiting = () => {}) {
  if (waitingPress()) throw new Error("another press waits for its answer");
  const made = { ...change, key: newKey(), page: location.pathname, search: location.search, by: person };
  sessionStorage.setItem(KEPT, JSON.stringify(made));
  return deliver(made, onWaiting);
}

/** Goes on with the person's press that a reload interrupted. @param {() => void} [onWaiting] @returns {Promise<Answer> | null} */
export function resume(onWaiting = () => {}) {
  const kept = waitingPress();
  return whyNotNow() === "waiting" ? deliver(/** @type {Press} */ (kept), onWaiting) : null;
}

/** @param {Press} made @param {() => void} onWaiting @returns {Promise<Answer>} */
async function deliver(made, onWaiting) {
  for (let attempt = 0; ; attempt += 1) {
    const answer = await send(made, made.key);
    if (answer?.status === 401) return signInAndComeBack();
    if (answer) {
      sessionStorage.removeItem(KEPT);
      return { ...answer, press: made };
    }
    onWaiting();
    await new Promise((resolve) => setTimeout(resolve, DELAYS[Math.min(attempt, DELAYS.length - 1)]));
  }
}

/**
 * Asks once. Null: no answer, so nobody knows whether it was done. Where another person has signed in, their page comes,
 * and says what waits.
 * @param {Change} change
 * @param {string} [key] The Idempotency-Key. A dry run needs none.
 */
export async function send({ path, body, method = "POST" }, key) {
  /** @type {Record<string, string>} */
  const headers = { "Content-Type": "application/json", "Qrtrack-Person": encodeURIComponent(person) };
  if (key) headers["Idempotency-Key"] = key;
  try {
    const response = await fetch(path, { method, headers, body: JSON.stringify(body), credentials: "same-origin" });
    if (STATUSES_WITHOUT_ANSWER.includes(response.status)) return null;
    const text = await response.text();
    // A proxy refuses in HTML: an answer too. Its success is none: that was a sign-in page of the network.
    const isJson = !text || (response.headers.get("Content-Type") ?? "").includes("json");
    if (!isJson && response.ok) return null;
    const answer = isJson && text ? JSON.parse(text) : { detail: `HTTP ${response.status}` };
    // The same key still runs: its answer is on the way.
    if (answer.type === "urn:qrtrack:problem:idempotency-key-in-use") return null;
    if (answer.type === OTHER_USER) return await comeAnew();
    return { ok: response.ok, status: response.status, body: answer };
  } catch {
    return null;
  }
}

/** The press stays and is sent after the sign-in. */
export function signInAndComeBack() {
  const here = location.pathname + location.search;
  return leave(() => location.assign(`/console/sign-in?ended=1&next=${encodeURIComponent(here)}`));
}

export function comeAnew() {
  return leave(() => location.reload());
}

/** @param {() => void} go @returns {Promise<never>} */
function leave(go) {
  go();
  return new Promise(() => {});
}

/** Random, also over plain http, where browsers have no crypto.randomUUID. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
