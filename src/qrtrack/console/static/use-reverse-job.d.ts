/** Types of use-reverse-job.js. */
import type { ReverseJob, ReverseJobState } from "./reverse-job.js";

/** The part of React that the hook needs: pass `React` itself. */
export interface ReactLike {
  useSyncExternalStore<Snapshot>(
    subscribe: (listener: () => void) => () => void,
    getSnapshot: () => Snapshot,
    getServerSnapshot?: () => Snapshot,
  ): Snapshot;
}

export type UseReverseJob = ReverseJobState &
  Pick<ReverseJob, "submitReverseJob" | "fetchJobStatus" | "clearReverseJob">;

/** Creates the hook: `const useReverseJob = createUseReverseJob(React)`, once, outside of components. */
export function createUseReverseJob(react: ReactLike): (job: ReverseJob) => UseReverseJob;
