// The types of send.js. The browser does not load this file.

export interface Change {
  path: string;
  body: any;
  /** POST if left out. */
  method?: string;
  /** What the person pressed, as the page names it. */
  label?: string;
}

/** A change that waits for its answer. */
export interface Press extends Change {
  /** The Idempotency-Key. */
  key: string;
  /** The path of the page on which it was pressed; `search` is the query. */
  page: string;
  search?: string;
  /** Who pressed it: `organisation/user`. */
  by?: string;
}

export interface Answer {
  ok: boolean;
  status: number;
  body: any;
  /** The press that is answered. */
  press: Press;
}
