// What a packing screen does with the generated types. It is compiled, never run: a cast or an `any` would prove nothing.
import type { components, operations } from "./openapi";

type Schemas = components["schemas"];
type Json<T> = T extends { content: { "application/json": infer Body } } ? Body : never;
type ProblemJson<T> = T extends { content: { "application/problem+json": infer Body } } ? Body : never;
type Responses<Id extends keyof operations> = operations[Id]["responses"];
type Refusal<Id extends keyof operations> = ProblemJson<Responses<Id>[keyof Responses<Id>]>;

// A value of type T, and of no wider one: `any` and `unknown` are refused.
type Exactly<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
declare function is<T>(): <V>(value: V, same: Exactly<V, T>) => void;

export function packing(refusal: Refusal<"pack_case">): string {
  switch (refusal.type) {
    case "urn:qrtrack:problem:count-drift":
      is<number>()(refusal.drift, true);
      if (refusal.cause !== "unit_missing") return refusal.detail;
      is<string[]>()(refusal.codes, true);
      is<string>()(refusal.expected_code, true);
      is<string>()(refusal.scanned_code, true);
      return refusal.codes.join();
    case "urn:qrtrack:problem:not-enough-prepared":
      is<number>()(refusal.available, true);
      return `${refusal.available}`;
    case "urn:qrtrack:problem:case-already-packed":
      is<string>()(refusal.master_code_info.packed_at, true);
      is<number>()(refusal.master_code_info.actual_units, true);
      return refusal.master_code_info.master_code;
    case "urn:qrtrack:problem:first-code-not-prepared":
      return refusal.state;
    case "urn:qrtrack:problem:invalid-input":
      return refusal.errors.map(translated).join() + refusal.error_count;
    default:
      is<string>()(refusal.detail, true);
      return refusal.detail;
  }
}

export function translated(error: Schemas["ProblemField"]): string {
  const sentences: Partial<Record<Schemas["FieldCode"], string>> = { too_small: "At least {min}" };
  return (sentences[error.code] ?? error.detail).replace(/\{(\w+)\}/g, (_, name: string) => `${error.params[name]}`);
}

export function tooLong(error: Schemas["ProblemField"]): number | string[] {
  if (error.code === "too_long") {
    is<number>()(error.params.max, true);
    return error.params.max;
  }
  return error.code === "not_allowed_value" ? error.params.allowed : 0;
}

// Every status has its own problems, and `status` tells them apart too.
export function submitting(refusal: Refusal<"submit_reverse_job">): string[] {
  return refusal.type === "urn:qrtrack:problem:unknown-exclude-codes" ? refusal.codes : [];
}

export function linking(refusal: Refusal<"link_codes">): (Schemas["LinkRefusal"] | null)[] {
  return refusal.type === "urn:qrtrack:problem:codes-not-linkable" ? refusal.results.map((one) => one.reason) : [];
}

export function dispatching(refusal: Refusal<"dispatch_settlement">): number | undefined {
  switch (refusal.type) {
    case "urn:qrtrack:problem:gateway-outcome-unknown":
    case "urn:qrtrack:problem:gateway-rejected":
    case "urn:qrtrack:problem:outcome-unknown":
      is<number>()(refusal.log_id, true);
      return refusal.log_id;
    case "urn:qrtrack:problem:dispatch-in-progress":
      return refusal.log_id;
    default:
      return undefined;
  }
}

export function anyOf(problem: Schemas["Problem"]): number {
  return problem.type === "urn:qrtrack:problem:count-drift" ? problem.drift : problem.status;
}

export function submitted(answer: Json<Responses<"submit_reverse_job">[200]>): string {
  if (answer.dry_run) {
    is<number>()(answer.would_prepare, true);
    return answer.unknown_codes.join();
  }
  is<string>()(answer.job_id, true);
  return answer.status;
}

export function listed(answer: Json<Responses<"list_batch_codes">[200]>): (string | null)[] {
  return answer.revealed ? answer.codes.map((code) => code.root_key) : answer.codes.map((code) => code.code);
}

export function traced(answer: Json<Responses<"trace_code">[200]>): string[] {
  return answer.events.map((event) => {
    switch (event.action) {
      case "case.packed":
      case "case.linked":
        is<number>()(event.details.case_number, true);
        return event.details.master_code;
      case "codes.unlinked":
        is<string[]>()(event.details.master_codes, true);
        return event.details.master_codes.join();
      case "batch.created":
        return event.details.order_id;
      case "reverse_job.completed":
        return `${event.details.prepared}`;
      default:
        return event.actor;
    }
  });
}

export function attempted(answer: Json<Responses<"get_attempt">[200]>): (string | null | undefined)[] {
  return answer.events.map((event) => (event.kind === "late_response" ? event.details.response_message : event.note));
}

// What is always answered is required: no question mark before a dot.
export function always(job: Json<Responses<"get_reverse_job">[200]>, page: Json<Responses<"list_batches">[200]>) {
  is<number>()(job.progress, true);
  is<true>()(job.success, true);
  is<string | null>()(page.next_cursor, true);
  return page.batches.map((batch) => batch.progress + batch.quantity);
}

// Only what has no default is asked for.
export const smallest: {
  batch: Schemas["BatchRequest"];
  job: Schemas["JobRequest"];
  pack: Schemas["PackRequest"];
  unlink: Schemas["UnlinkRequest"];
  query: operations["list_batches"]["parameters"]["query"];
  poll: operations["get_reverse_job"]["parameters"]["query"];
} = {
  batch: { order_id: "o", product_name: "Gold 1 g", quantity: 100, serial_prefix: "SKA" },
  job: { batch_id: "b", order_id: "o", exclude_codes: [] },
  pack: { batch_id: "b", order_id: "o", master_code: "m" },
  unlink: { master_code: "m", reason: "Box dropped" },
  query: {},
  poll: { job_id: "j" },
};

export function headers(answer: Responses<"create_batch">[202]): string | undefined {
  return answer.headers["Location"] ?? answer.headers["Idempotency-Replayed"] ?? answer.headers["X-Request-ID"];
}

// @ts-expect-error A mistyped field is an error, as it is at run time.
export const mistyped: Schemas["JobRequest"] = { batch_id: "b", order_id: "o", exclude_codes: [], exclude_code: [] };
