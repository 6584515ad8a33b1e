// The page behind a request's link: where it stands, what happens next, and its papers.

import { get, path } from "./api.js";
import { byId, h, show } from "./dom.js";
import { day, minute, things } from "./format.js";

const DATASET = document.body.dataset.dataset;
const SECRET = decodeURIComponent(location.pathname.split("/").pop());
const WAY = [["received", "Taken in"], ["identified", "At the desk"], ["tombstoned", "Hidden"], ["erased", "Erased"], ["closed", "Proved and closed"]];
const ASKED = [["received", "Taken in"], ["identified", "At the desk"], ["closed", "Answered"]];
const AT = { proposed: "identified", confirmed: "identified" };
const AGAIN_MS = 15_000;

async function look() {
  try {
    const told = await get(path(DATASET, "requests", SECRET));
    show(byId("trouble"));
    draw(told);
    if (told.open) setTimeout(look, AGAIN_MS);
  } catch (error) {
    byId("request").setAttribute("aria-busy", "false");
    if (error.status === 404) show(byId("request"), h("h1", {}, "This link leads to no request"), h("p", { class: "lead" }, "Please check that it is complete: it ends after 27 letters and digits."));
    else show(byId("trouble"), h("p", { class: "warn" }, error.message));
  }
}

function draw(told) {
  const ended = ["refused", "withdrawn"].includes(told.state);
  const paper = (what, words) => h("a", { class: "button", href: `/api/v1${path(DATASET, "requests", SECRET, what)}`, download: "" }, words);
  byId("request").setAttribute("aria-busy", "false");
  show(
    byId("request"),
    h("h1", { id: "state" }, title(told)),
    h("p", { class: "lead" }, told.next),
    told.reason && h("p", { class: "warn" }, `Why: ${told.reason}.`),
    told.answer && h("p", { class: told.answer.found === "yes" ? "info" : "good" }, told.answer.found === "yes" ? `The answer is yes: ${things(told.answer.rows, "picture")} of it ${told.answer.rows === 1 ? "is" : "are"} known here.` : "The answer is no: it is not in this data set."),
    ended ? null : way(told),
    h("dl", { class: "facts" },
      told.open && [h("dt", {}, "Answered until"), h("dd", {}, day(told.due_utc), told.extended ? ", extended" : "", told.overdue ? h("span", { class: "badge no" }, "overdue") : "")],
      told.rows !== null && [h("dt", {}, "It means"), h("dd", {}, things(told.rows, "row"), " of the data set")],
      h("dt", {}, "Its number"), h("dd", {}, h("code", {}, told.id)),
      h("dt", {}, "So far"), h("dd", {}, h("ol", { class: "plain" }, told.history.map((one) => h("li", {}, `${minute(one.utc)}: ${one.title}`))))),
    h("div", { class: "row papers" }, paper("receipt", "Download the receipt"), told.has_report && paper("report", "Download the report of the erasure")),
    h("p", { class: "note" }, "Check the receipt without us: ", h("code", {}, "tamis optout check-receipt receipt.json")),
  );
}

const title = (told) => (told.asks ? `Your question is ${told.title}` : `Your request is ${told.title}`);

function way(told) {
  const steps = told.asks ? ASKED : WAY;
  const now = steps.findIndex(([state]) => state === (AT[told.state] ?? told.state));
  return h("ol", { class: "way", "aria-label": "How far it is" }, steps.map(([, words], at) =>
    h("li", { class: at < now || (at === now && !told.open) ? "done" : at === now ? "now" : "", "aria-current": at === now ? "step" : null }, words)));
}

look();
