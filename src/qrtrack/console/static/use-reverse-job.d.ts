/** Types of use-reverse-job.js. */
import type { ReverseJob, ReverseJobState } from "./reverse-job.js";

/** What the hook needs of React: pass `React` itself. */
export interface ReactLike {
  useSyncExternalStore<Snapshot>(
    subscribe: (listener: () => void) => () => void,
    getSnapshot: () => Snapshot,
    getServerSnapshot?: () => Snapshot,
  ): Snapshot;
}

export type UseReverseJob = ReverseJobState &
  Pick<ReverseJob, "submitReverseJob" | "fetchJobStatus" | "clearReverseJob">;

/** Makes the hook: `const useReverseJob = createUseReverseJob(React)`, once, outside of components. */
export function createUseReverseJob(react: ReactLike): (job: ReverseJob) => UseReverseJob;
