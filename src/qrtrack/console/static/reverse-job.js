// @ts-check
/**
 * Submits a reverse job and follows it until it has ended, also across reloads and lost connections. It needs only
 * a browser, and also works over plain http. Types: reverse-job.d.ts. How to use it: docs/front-end.md.
 */

/** @typedef {import("./reverse-job.js").ReverseJobState} State */
/** @typedef {import("./reverse-job.js").JobStatus} JobStatus */
/** @typedef {import("./reverse-job.js").SubmittedJob} SubmittedJob */
/** @typedef {{key: string, body: string, hasFailed?: boolean}} Submission `hasFailed`: sent again only at another press. */
/** @typedef {{jobId: string | null, submission: Submission | null}} Stored */

const PATHS = { submit: "/api/manufacturer/reverse-job/submit", status: "/api/manufacturer/reverse-job/status" };
const POLL_SECONDS = 3;
const LONGEST_PAUSE = 30;
const ENDED = new Set(["completed", "failed", "cancelled"]);
/** Statuses after which the same request is sent again: it may not have arrived, or the service cannot answer now. */
const TRANSIENT = new Set([0, 408, 425, 429, 502, 503, 504]);
const KEY_IN_USE = "urn:qrtrack:problem:idempotency-key-in-use";
/** @type {State} */
const NOTHING = { currentJobId: null, jobStatus: null, isPolling: false, isSubmitting: false, error: null };

export class ReverseJobError extends Error {
  /**
   * @param {string} type
   * @param {string} detail
   * @param {{status?: number, problem?: any, retryAfter?: number | null}} [more]
   */
  constructor(type, detail, { status = 0, problem = null, retryAfter = null } = {}) {
    super(detail);
    this.name = "ReverseJobError";
    this.type = type;
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later by itself. */
  get isTransient() {
    return TRANSIENT.has(this.status) || this.type === KEY_IN_USE;
  }
}

/** @type {typeof import("./reverse-job.js").createReverseJob} */
export const createReverseJob = (options) => new ReverseJob(options);

class ReverseJob {
  #baseUrl;
  #token;
  #paths;
  #storageKey;
  /** @type {State} */
  #state = NOTHING;
  /** @type {Set<(state: State) => void>} */
  #listeners = new Set();
  /** @type {Submission | null} The newest submission, until it is answered. */
  #submission = null;
  /** @type {Promise<SubmittedJob> | null} */
  #submitting = null;
  /** @type {{jobId: string, promise: Promise<JobStatus | null>} | null} */
  #fetching = null;
  /** Whether polling goes on: the job has not ended, and the service has not refused to show it. */
  #isRunning = false;
  #failures = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

  /** @param {import("./reverse-job.js").ReverseJobOptions} [options] */
  constructor({ baseUrl = "", token, paths = {}, storageKey = "qrtrack.reverse-job" } = {}) {
    this.#baseUrl = baseUrl.replace(/\/+$/, "");
    this.#token = token;
    this.#paths = { ...PATHS, ...paths };
    this.#storageKey = storageKey;
    globalThis.document?.addEventListener("visibilitychange", () => this.#lookAgain());
    const { jobId, submission } = this.#load();
    this.#submission = submission;
    if (jobId) this.fetchJobStatus(jobId).catch(ignore);
    if (submission && !submission.hasFailed) this.#begin(submission).catch(ignore);
  }

  get state() {
    return this.#state;
  }

  /** @type {import("./reverse-job.js").ReverseJob["subscribe"]} */
  subscribe = (listener) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** @type {import("./reverse-job.js").ReverseJob["submitReverseJob"]} */
  submitReverseJob = (job) => {
    const body = JSON.stringify(job);
    const isSame = this.#submission?.body === body;
    if (this.#submitting) {
      return isSame ? this.#submitting : Promise.reject(new ReverseJobError("busy", "A submission is still unanswered."));
    }
    // An unanswered submission may have been executed, so the same job is sent again with the same key.
    return this.#begin(isSame && this.#submission ? this.#submission : { key: newKey(), body });
  };

  /** @type {import("./reverse-job.js").ReverseJob["fetchJobStatus"]} */
  fetchJobStatus = (jobId = this.#state.currentJobId) => {
    if (!jobId) return Promise.resolve(null);
    if (this.#fetching?.jobId === jobId) return this.#fetching.promise;
    if (jobId !== this.#state.currentJobId) this.#adopt(jobId);
    const promise = this.#fetch(jobId).finally(() => {
      if (this.#fetching?.promise === promise) this.#fetching = null;
    });
    this.#fetching = { jobId, promise };
    return promise;
  };

  /** @type {import("./reverse-job.js").ReverseJob["clearReverseJob"]} */
  clearReverseJob = () => {
    this.#submission = null;
    this.#submitting = null;
    this.#fetching = null;
    this.#stop();
    this.#change(NOTHING);
    this.#save();
  };

  /** @param {Submission} submission */
  #begin(submission) {
    this.#submission = { ...submission, hasFailed: false };
    this.#save();
    this.#change({ isSubmitting: true, error: null });
    const promise = this.#submit(this.#submission);
    this.#submitting = promise;
    return promise;
  }

  /** @param {Submission} submission @returns {Promise<SubmittedJob>} */
  async #submit(submission) {
    try {
      const answer = await this.#deliver(submission);
      if (this.#submission !== submission) throw new ReverseJobError("cleared", "The submission was cleared.");
      this.#adopt(answer.job_id);
      this.#finish(null);
      this.fetchJobStatus().catch(ignore);
      return answer;
    } catch (error) {
      if (this.#submission !== submission) throw error;
      this.#finish(keptAfter(error, submission), error);
      throw error;
    }
  }

  /** Sends the submission until it is answered. @param {Submission} submission @returns {Promise<SubmittedJob>} */
  async #deliver(submission) {
    const headers = { "Content-Type": "application/json", "Idempotency-Key": submission.key };
    for (let tries = 0; ; tries += 1) {
      try {
        return (await this.#request(this.#paths.submit, { method: "POST", headers, body: submission.body })).answer;
      } catch (error) {
        if (this.#submission !== submission || !isTransient(error)) throw error;
        this.#change({ error });
        await pause(error.retryAfter ?? Math.min(2 ** tries, LONGEST_PAUSE));
        if (this.#submission !== submission) throw error;
      }
    }
  }

  /** @param {Submission | null} submission @param {unknown} [error] */
  #finish(submission, error = null) {
    this.#submission = submission;
    this.#submitting = null;
    this.#save();
    this.#change({ isSubmitting: false, error });
  }

  /** @param {string} jobId */
  #adopt(jobId) {
    this.#failures = 0;
    this.#isRunning = true;
    this.#change({ currentJobId: jobId, jobStatus: null });
    this.#save();
  }

  /** @param {string} jobId @returns {Promise<JobStatus>} */
  async #fetch(jobId) {
    clearTimeout(this.#timer);
    this.#change({ isPolling: true });
    try {
      const path = `${this.#paths.status}?job_id=${encodeURIComponent(jobId)}`;
      const { answer, retryAfter } = await this.#request(path, {});
      if (jobId !== this.#state.currentJobId) return answer;
      this.#failures = 0;
      this.#change({ jobStatus: answer, error: null });
      if (ENDED.has(answer.status)) this.#stop();
      else this.#continue(Math.max(POLL_SECONDS, retryAfter ?? 0));
      return answer;
    } catch (error) {
      if (jobId !== this.#state.currentJobId) throw error;
      this.#change({ error });
      if (!isTransient(error)) this.#stop();
      else this.#continue(error.retryAfter ?? Math.min(POLL_SECONDS * 2 ** this.#failures++, LONGEST_PAUSE));
      throw error;
    }
  }

  /** @param {number} seconds */
  #continue(seconds) {
    this.#isRunning = true;
    if (isHidden()) this.#change({ isPolling: false });
    else this.#timer = setTimeout(() => this.fetchJobStatus().catch(ignore), seconds * 1000);
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#isRunning = false;
    this.#change({ isPolling: false });
  }

  #lookAgain() {
    if (!this.#isRunning) return;
    clearTimeout(this.#timer);
    if (isHidden()) this.#change({ isPolling: false });
    else this.fetchJobStatus().catch(ignore);
  }

  /** @param {string} path @param {RequestInit} init @returns {Promise<{answer: any, retryAfter: number | null}>} */
  async #request(path, init) {
    const token = typeof this.#token === "function" ? await this.#token() : this.#token;
    const headers = { Accept: "application/json", ...init.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    const credentials = this.#token ? "omit" : "same-origin";
    try {
      const response = await fetch(this.#baseUrl + path, { ...init, headers, credentials, cache: "no-store" });
      const { status, ok } = response;
      const retryAfter = secondsOf(response.headers.get("Retry-After"));
      const answer = parse(await response.text());
      if (ok && answer) return { answer, retryAfter };
      const detail = answer?.detail ?? `Something between here and the service answered ${status}.`;
      throw new ReverseJobError(answer?.type ?? "unreadable", detail, { status: ok ? 0 : status, problem: answer, retryAfter });
    } catch (error) {
      if (error instanceof ReverseJobError) throw error;
      throw new ReverseJobError("network", "The service cannot be reached.");
    }
  }

  /** @param {Partial<State>} changes */
  #change(changes) {
    const state = { ...this.#state, ...changes };
    if (Object.entries(state).every(([name, value]) => Object.is(value, Reflect.get(this.#state, name)))) return;
    this.#state = Object.freeze(state);
    for (const listener of this.#listeners) call(listener, this.#state);
  }

  /** Stores the job and the submission. If sessionStorage is full or not allowed, a reload loses both. */
  #save() {
    const stored = { jobId: this.#state.currentJobId, submission: this.#submission };
    try {
      if (stored.jobId || stored.submission) sessionStorage.setItem(this.#storageKey, JSON.stringify(stored));
      else sessionStorage.removeItem(this.#storageKey);
    } catch {
      // The page works without sessionStorage.
    }
  }

  /** @returns {Stored} */
  #load() {
    try {
      const stored = parse(sessionStorage.getItem(this.#storageKey) ?? "");
      return { jobId: stored?.jobId ?? null, submission: stored?.submission ?? null };
    } catch {
      return { jobId: null, submission: null };
    }
  }
}

/**
 * Returns what to keep of a failed submission. A refusal is an answer: nothing is kept. After an expired token (401)
 * the submission is sent when the page is loaded again. After a defect its effect is unknown: it waits for another
 * press, which sends the same key.
 * @param {unknown} error
 * @param {Submission} submission
 */
function keptAfter(error, submission) {
  const status = error instanceof ReverseJobError ? error.status : 500;
  if (status === 401) return submission;
  return status < 500 ? null : { ...submission, hasFailed: true };
}

/** @param {unknown} error @returns {error is ReverseJobError} */
function isTransient(error) {
  return error instanceof ReverseJobError && error.isTransient;
}

function isHidden() {
  return globalThis.document?.visibilityState === "hidden";
}

/** 128 random bits. `crypto.randomUUID` is missing over plain http. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param {number} seconds @returns {Promise<void>} */
function pause(seconds) {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000));
}

/** The value of Retry-After: seconds, or a date. @param {string | null} value */
function secondsOf(value) {
  if (!value) return null;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return seconds > 0 ? seconds : null;
}

/** @param {string} text @returns {any} undefined if the text is not a JSON object */
function parse(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Reports an error of the listener, but goes on polling. @param {(state: State) => void} listener @param {State} state */
function call(listener, state) {
  try {
    listener(state);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

function ignore() {
  // The state holds the error.
}
