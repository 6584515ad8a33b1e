// The queue: counts, what waits to be erased or verified, and the requests with their deadlines.

import { announce, h, show } from "./dom.js";
import { count, day, things } from "./format.js";
import { GROUNDS, KINDS, dueIn, stateOf } from "./desk_words.js";

const FILTERS = [["open", "Open"], ["waiting", "To decide"], ["overdue", "Overdue"], ["proposed", "To compare"], ["tombstoned", "Hidden"], ["erased", "Erased"], ["closed", "Closed"], ["refused", "Refused"], ["withdrawn", "Withdrawn"], ["all", "All"]];
const EACH_MS = 700;
let chosen = "open";

/** Draw the queue into `desk`. */
export async function queue(desk, api, still) {
  const [told, { job }, papers] = await Promise.all([api.get(`requests?state=${chosen}`), api.get("job"), api.get("notices")]);
  if (!still()) return;
  const again = () => queue(desk, api, still);
  const strip = h("div", { id: "job" });
  show(
    desk,
    h("p", { class: "eyebrow" }, "Queue"),
    h("h1", {}, told.counts.open ? `${things(told.counts.open, "request")} to work on` : "Nothing to do"),
    h("dl", { class: "numbers" }, number("to decide", told.counts.waiting), number("to compare", told.counts.proposed), number("overdue", told.counts.overdue, told.counts.overdue > 0), number("hidden, not erased", told.hidden_not_erased), number("erased, not verified", told.counts.erased)),
    work(told, api, strip, again),
    strip,
    filters(told, again),
    told.requests.length ? table(told.requests, api.dataset) : h("p", { class: "soft" }, "No such request."),
    told.next_offset && h("p", { class: "note" }, `Only the first ${count(told.next_offset)} are listed.`),
    notices(papers, api, again),
  );
  if (job) watch(strip, api, job, again, still, job.state === "running");
}

const number = (words, n, bad = false) => h("div", { class: bad ? "bad" : "" }, h("dt", {}, words), h("dd", {}, count(n)));

function work(told, api, strip, again) {
  const start = (what) => async () => {
    try {
      watch(strip, api, await api.post(what), again, () => true, true);
    } catch (error) {
      show(strip, h("p", { class: "warn", role: "alert" }, error.message));
    }
  };
  return h("div", { class: "row work" },
    h("button", { class: told.hidden_not_erased || told.counts.tombstoned ? "main" : "", id: "apply", type: "button", click: start("apply"), disabled: !told.hidden_not_erased && !told.counts.tombstoned }, "Erase what is hidden"),
    h("button", { class: told.counts.erased ? "main" : "", id: "verify", type: "button", click: start("verify"), disabled: !told.counts.erased }, "Verify what is erased"));
}

async function watch(strip, api, job, again, still, live) {
  while (live && job.state === "running" && still()) {
    const part = job.total ? `${count(job.done)} of ${count(job.total)} files` : "";
    show(strip, h("div", { class: "info" }, h("p", { class: "busy" }, `${job.kind === "erase" ? "Erasing" : "Verifying"} … ${job.what} ${part}`), job.total ? h("progress", { max: job.total, value: job.done, "aria-label": "Progress" }) : h("progress", { "aria-label": "Progress" })));
    await new Promise((done) => setTimeout(done, EACH_MS));
    job = (await api.get("job")).job;
  }
  if (!still()) return;
  if (live) {
    await again();
    announce(outcome(job));
    return;
  }
  show(strip, h("p", { class: job.state === "failed" || job.outcome?.left?.length ? "warn" : "good" }, `${day(job.began_utc)}: ${outcome(job)}`));
}

function outcome(job) {
  if (job.state === "failed") return job.error;
  const did = job.outcome;
  if (job.kind === "erase") return did.samples ? `Erased ${things(did.samples, "sample")} in ${things(did.files, "file")}, in ${did.seconds.toFixed(1)} s. Verify it next.` : "There was nothing left to erase.";
  if (did.left.length) return `Found ${things(did.left.length, "trace")} of what was erased, the first in ${did.left[0].file}. Erase again.`;
  return `Searched ${things(did.files, "file")}: nothing of it is left. ${things(did.closed.length, "request")} closed and forgotten.`;
}

function filters(told, again) {
  return h("div", { class: "filters", role: "group", "aria-label": "Which requests" }, FILTERS.map(([state, words]) => {
    const n = state === "all" ? null : told.counts[state];
    return h("button", { type: "button", "aria-pressed": String(chosen === state), "data-state": state, click: async () => { chosen = state; await again(); document.querySelector(`[data-state="${state}"]`)?.focus(); } }, words, n === null ? "" : h("span", { class: "soft" }, ` ${count(n)}`));
  }));
}

function table(requests, dataset) {
  const head = ["Due", "State", "What it names", "Ground", "From", "Request"];
  return h("table", { class: "queue" },
    h("thead", {}, h("tr", {}, head.map((words) => h("th", { scope: "col" }, words)))),
    h("tbody", {}, requests.map((one) => h("tr", { class: one.overdue ? "late" : "" },
      h("td", {}, day(one.due_utc), h("span", { class: one.overdue ? "badge no" : "soft due" }, dueIn(one))),
      h("td", {}, h("span", { class: one.waits || one.state === "proposed" ? "badge todo" : "badge" }, stateOf(one))),
      h("td", {}, KINDS[one.kind] ?? one.kind),
      h("td", {}, GROUNDS[one.category] ?? one.category),
      h("td", {}, one.source === "web" ? "the web page" : one.source),
      h("td", { class: "id" }, h("a", { href: `#${encodeURIComponent(dataset)}/${one.id}`, "aria-label": `Open request ${one.id}` }, one.id.slice(0, 10), "…"))))));
}

function notices(papers, api, again) {
  const trouble = h("p", { role: "alert" });
  const write = async () => {
    try {
      const done = await api.post("notices");
      await again();
      announce(done.written ? `${things(done.written, "notice")} written.` : "There was nothing to tell anybody.");
    } catch (error) {
      trouble.textContent = error.message;
    }
  };
  return h("section", { class: "part" }, h("h2", {}, "Notices to those who were given the data"),
    papers.notices.length
      ? h("table", {}, h("thead", {}, h("tr", {}, ["Recipient", "Rows", "State", "Notice"].map((words) => h("th", { scope: "col" }, words)))),
          h("tbody", {}, papers.notices.map((one) => h("tr", {}, h("td", {}, one.recipient), h("td", {}, count(one.rows)), h("td", {}, one.state), h("td", {}, h("a", { href: api.address(`notices/${one.notice}`), download: "" }, one.notice.split("/")[1]))))))
      : h("p", { class: "soft" }, "None is written."),
    h("div", { class: "row" }, h("button", { type: "button", click: write }, "Write the notices that are due")), trouble);
}
