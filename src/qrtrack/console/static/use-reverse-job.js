// @ts-check
/**
 * The React hook over reverse-job.js, for React 18 and newer.
 *
 * React is passed as an argument. A bare `import "react"` does not load in a browser without an import map, and might
 * load a second copy of React, in which hooks fail.
 */

/** @type {typeof import("./use-reverse-job.js").createUseReverseJob} */
export const createUseReverseJob = ({ useSyncExternalStore }) => {
  return function useReverseJob(job) {
    const state = useSyncExternalStore(job.subscribe, () => job.state, () => job.state);
    const { submitReverseJob, fetchJobStatus, clearReverseJob } = job;
    return { ...state, submitReverseJob, fetchJobStatus, clearReverseJob };
  };
};
