// Two components that show one reverse job, as a front end would write them.
import { packages } from "/react/all.js";
import { createReverseJob } from "/console/static/reverse-job.js";
import { createUseReverseJob } from "/console/static/use-reverse-job.js";

const React = packages.react;
const h = React.createElement;
const job = createReverseJob({ token: "t0ken" });
const useReverseJob = createUseReverseJob(React);
const order = { batch_id: "b", order_id: "o", exclude_codes: [] };

function Line() {
  const { currentJobId, jobStatus, isPolling, submitReverseJob, clearReverseJob } = useReverseJob(job);
  const told = jobStatus ? `${currentJobId} ${jobStatus.status} ${jobStatus.progress} ${isPolling}` : "no job";
  return h(
    "section",
    null,
    h("button", { onClick: () => submitReverseJob(order) }, "Prepare"),
    h("button", { onClick: clearReverseJob }, "Forget"),
    h("p", { role: "status" }, told),
  );
}

document.title = React.version;
const root = packages["react-dom/client"].createRoot(document.body.appendChild(document.createElement("main")));
root.render(h(React.StrictMode, null, h(Line), h(Line)));
