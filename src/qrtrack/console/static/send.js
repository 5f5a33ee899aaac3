// @ts-check
// Each press takes effect once, as long as the tab stays open. It is stored with its Idempotency-Key before it is sent,
// and sent again until the server has answered, also after a reload or a sign-in; never in the name of another person.

const KEPT = "qrtrack.press";
/** Who is signed in on this page: `organisation/user`. */
export const person = document.body.dataset.person ?? "";
export const MINE = { "Qrtrack-Person": encodeURIComponent(person) };
/** Another person has signed in, in another tab. */
export const OTHER_USER = "urn:qrtrack:problem:other-user";

/** @import { Answer, Change, Press } from "./send-types.js" */

/** Returns the press that waits for its answer, or null. @returns {Press | null} */
export function waitingPress() {
  const kept = sessionStorage.getItem(KEPT);
  return kept ? JSON.parse(kept) : null;
}

/** Returns why no press can be made now, or null. */
export function whyNotNow() {
  const kept = waitingPress();
  return kept && (kept.by === person ? "waiting" : "another");
}

/**
 * Sends a change to the API until it has answered.
 * @param {Change} change
 * @param {() => void} [onWaiting] Called each time the server has not answered; then the press is sent again.
 * @returns {Promise<Answer>}
 */
export function press(change, onWaiting = () => {}) {
  if (waitingPress()) throw new Error("another press waits for its answer");
  const made = { ...change, key: newKey(), page: location.pathname, search: location.search, by: person };
  sessionStorage.setItem(KEPT, JSON.stringify(made));
  return deliver(made, onWaiting);
}

/** Sends this person's press again after a reload, if there is one. @param {() => void} [onWaiting] @returns {Promise<Answer> | null} */
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
    await new Promise((resolve) => setTimeout(resolve, 1000 * 2 ** Math.min(attempt, 2)));
  }
}

/**
 * Sends one request. Null: no answer, so nobody knows whether the change was made. If another person has signed in,
 * loads the page again.
 * @param {Change} change
 * @param {string} [key] The Idempotency-Key. Requests that change nothing need none.
 */
export async function send({ path, body, method = "POST" }, key) {
  /** @type {Record<string, string>} */
  const headers = { "Content-Type": "application/json", ...MINE };
  if (key) headers["Idempotency-Key"] = key;
  try {
    const response = await fetch(path, { method, headers, body: JSON.stringify(body), credentials: "same-origin" });
    if ([502, 503, 504].includes(response.status)) return null;
    const text = await response.text();
    // HTML comes from a proxy: its refusal is an answer, its success a sign-in page of the network.
    const isJson = !text || (response.headers.get("Content-Type") ?? "").includes("json");
    if (!isJson && response.ok) return null;
    const answer = isJson && text ? JSON.parse(text) : { detail: `HTTP ${response.status}` };
    // The request with this key still runs, so there is no answer yet.
    if (answer.type === "urn:qrtrack:problem:idempotency-key-in-use") return null;
    if (answer.type === OTHER_USER) return await comeAnew();
    return { ok: response.ok, status: response.status, body: answer };
  } catch {
    return null;
  }
}

/** Another page comes. @type {Promise<never>} */
const left = new Promise(() => {});

/** The press is sent after the sign-in. */
export function signInAndComeBack() {
  const here = location.pathname + location.search;
  location.assign(`/console/sign-in?ended=1&next=${encodeURIComponent(here)}`);
  return left;
}

export function comeAnew() {
  location.reload();
  return left;
}

/** Returns a random key. Over plain http, browsers have no crypto.randomUUID. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
