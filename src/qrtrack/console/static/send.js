// @ts-check
// A press is never lost and never doubled. It is kept in sessionStorage with its Idempotency-Key before it is sent, and
// sent again until the server has answered: after a network loss, after a reload, after signing in again.

const KEPT = "qrtrack.press";
const DELAYS = [1000, 2000, 4000];
const STATUSES_WITHOUT_ANSWER = [502, 503, 504];

/** @typedef {{path: string, body: any, method?: string}} Change `method`: POST if left out. */
/** @typedef {Change & {key: string, page: string, search?: string}} Press `page` and `search`: where it was pressed. */
/** @typedef {{ok: boolean, status: number, body: any, press: Press}} Answer `press`: what was asked. */

/** The press that waits for its answer, if there is one. @returns {Press | null} */
export function waitingPress() {
  const kept = sessionStorage.getItem(KEPT);
  return kept ? JSON.parse(kept) : null;
}

/**
 * Sends a change to the API until it has answered.
 * @param {Change} change
 * @param {() => void} [onWaiting] Called whenever the server did not answer and the press is sent again.
 * @returns {Promise<Answer>}
 */
export function press(change, onWaiting = () => {}) {
  if (waitingPress()) throw new Error("another press waits for its answer");
  const made = { ...change, key: newKey(), page: location.pathname, search: location.search };
  sessionStorage.setItem(KEPT, JSON.stringify(made));
  return deliver(made, onWaiting);
}

/** Goes on with the press that a reload interrupted. @param {() => void} [onWaiting] @returns {Promise<Answer> | null} */
export function resume(onWaiting = () => {}) {
  const kept = waitingPress();
  return kept && deliver(kept, onWaiting);
}

/** @param {Press} made @param {() => void} onWaiting @returns {Promise<Answer>} */
async function deliver(made, onWaiting) {
  for (let attempt = 0; ; attempt += 1) {
    const answer = await send(made, made.key);
    if (answer && answer.status === 401) return signInAndComeBack();
    if (answer) {
      sessionStorage.removeItem(KEPT);
      return { ...answer, press: made };
    }
    onWaiting();
    await new Promise((resolve) => setTimeout(resolve, DELAYS[Math.min(attempt, DELAYS.length - 1)]));
  }
}

/**
 * Asks once. Null: no answer, so nobody knows whether it was done.
 * @param {Change} change
 * @param {string} [key] The Idempotency-Key. A dry run needs none.
 */
export async function send({ path, body, method = "POST" }, key) {
  /** @type {Record<string, string>} */
  const headers = { "Content-Type": "application/json" };
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
    return { ok: response.ok, status: response.status, body: answer };
  } catch {
    return null;
  }
}

/** @returns {Promise<never>} the page is left; the press stays and is sent after the sign-in. */
export function signInAndComeBack() {
  const here = location.pathname + location.search;
  location.assign(`/console/sign-in?ended=1&next=${encodeURIComponent(here)}`);
  return new Promise(() => {});
}

/** Random, also over plain http, where browsers have no crypto.randomUUID. */
export function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
