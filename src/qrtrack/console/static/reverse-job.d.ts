/** Types of reverse-job.js. The service's OpenAPI document has all fields and problems. */

export interface ReverseJobOptions {
  /** The address of the service, such as `https://pack.example.com`. If left out, the page's own origin. */
  baseUrl?: string;
  /**
   * The user's token, or a function that returns it; the function is called before each request. The token is never
   * stored. Without `token` the browser sends the cookies of the page's own origin.
   */
  token?: string | (() => string | Promise<string>) | null;
  paths?: { submit?: string; status?: string };
  /** The key in `sessionStorage`. Give each job of a page its own. */
  storageKey?: string;
}

export type Status = "queued" | "running" | "completed" | "failed" | "cancelled";

export interface NewReverseJob {
  batch_id: string;
  order_id: string;
  exclude_codes: string[];
  variant?: string | null;
  priority?: number;
  /** How many seconds the answer may wait for the end of the job. */
  wait?: number;
  manufacturer_org_id?: string;
  user_id?: string;
}

export interface SubmittedJob {
  success: true;
  job_id: string;
  status: Status;
  exclude_count: number;
  excluded_already_unavailable: number;
}

/** `prepared + duplicates + invalid + excluded_count = total_available`. */
export interface ResultSummary {
  prepared: number;
  duplicates: number;
  invalid: number;
  total_available: number;
  excluded_count: number;
  excluded_already_unavailable: number;
}

export interface JobStatus {
  success: true;
  job_id: string;
  batch_id: string;
  order_id: string;
  status: Status;
  /** 0 to 100. It never falls, and is 100 only with `completed`. */
  progress: number;
  prepared_count: number;
  remaining_to_prepare: number | null;
  total_available_in_batch: number | null;
  result_summary: ResultSummary | null;
  error_message: string | null;
  queue_position: number | null;
  eta_seconds: number | null;
  attempts: number;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
}

export class ReverseJobError extends Error {
  /**
   * What went wrong, for programs: the `type` of the problem (`urn:qrtrack:problem:…`), or `network`, `unreadable` (the
   * answer is not the service's), `busy` (another submission is unanswered), `cleared`.
   */
  readonly type: string;
  /** The HTTP status; 0 without an answer of the service. */
  readonly status: number;
  /** The problem document, with the fields of its type. */
  readonly problem: (Record<string, unknown> & { type: string; detail: string }) | null;
  /** The header Retry-After in seconds, or null. */
  readonly retryAfter: number | null;
  /** Whether the module sends the request again by itself. */
  readonly isTransient: boolean;
}

/** The state. Each change creates a new object. */
export interface ReverseJobState {
  readonly currentJobId: string | null;
  /** The newest answer of the service; null before the first one. */
  readonly jobStatus: JobStatus | null;
  readonly isPolling: boolean;
  /** A submission was sent and is not answered yet: show it as waiting. */
  readonly isSubmitting: boolean;
  /** Why the newest request failed: a ReverseJobError, or what `token` has thrown. */
  readonly error: unknown;
}

export interface ReverseJob {
  readonly state: ReverseJobState;
  /**
   * Sends the job, again and again while the connection is lost (after 1, 2, 4 … 30 s) and across reloads, with one
   * Idempotency-Key: one press makes one job. Submitting the same job again before the answer counts as the same press.
   * @throws ReverseJobError the service's refusal
   */
  submitReverseJob(job: NewReverseJob): Promise<SubmittedJob>;
  /**
   * Asks now, and then every 3 seconds (less often after failures, not in a hidden tab) until the job has ended or the
   * service refuses. `jobId` becomes the current job. Resolves to null if there is no job.
   */
  fetchJobStatus(jobId?: string | null): Promise<JobStatus | null>;
  /** Forgets the job and an unanswered submission. The job goes on in the service. */
  clearReverseJob(): void;
  /** Calls `listener` after each change of the state. Returns a function that ends the subscription. */
  subscribe(listener: (state: ReverseJobState) => void): () => void;
}

/** Create one for each page, outside of components. It polls by itself, and continues what the tab has begun before. */
export function createReverseJob(options?: ReverseJobOptions): ReverseJob;
