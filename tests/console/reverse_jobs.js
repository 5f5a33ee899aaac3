// Starts a reverse job of the console's module, and keeps what it does: each request with its time, and each error.
import { createReverseJob } from "/console/static/reverse-job.js";

const send = globalThis.fetch;
globalThis.calls = [];
globalThis.errors = [];
globalThis.fetch = (url, init = {}) => {
  const { headers, credentials } = init;
  calls.push({
    at: Date.now(), path: new URL(url, location.href).pathname, key: headers["Idempotency-Key"],
    authorization: headers.Authorization, credentials,
  });
  return send(url, init);
};

export function start(options) {
  globalThis.job = createReverseJob(options);
  job.subscribe(({ error }) => error && !errors.includes(error) && errors.push(error));
}

/** Submits, and keeps the outcome: the answer, or the error's type. */
export function press(name, order) {
  globalThis[name] = null;
  job.submitReverseJob(order).then(
    (answer) => (globalThis[name] = answer.job_id),
    (error) => (globalThis[name] = error.type),
  );
}

export function hide(isHidden) {
  Object.defineProperty(document, "visibilityState", { value: isHidden ? "hidden" : "visible", configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}

export function subscribeWrongly() {
  job.subscribe(() => {
    throw new Error("a mistake of the page");
  });
}
