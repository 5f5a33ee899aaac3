// What send.js sends, keeps and returns. The browser loads no types.

export interface Change {
  path: string;
  body: any;
  /** POST if left out. */
  method?: string;
  /** What was pressed, in the person's words. */
  label?: string;
}

/** A change that waits for its answer. */
export interface Press extends Change {
  /** The Idempotency-Key. */
  key: string;
  /** Where it was pressed: path and query. */
  page: string;
  search?: string;
  /** Who pressed it: `organisation/user`. */
  by?: string;
}

export interface Answer {
  ok: boolean;
  status: number;
  body: any;
  /** What was asked. */
  press: Press;
}
