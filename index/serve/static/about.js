// The page about a data set: the figures of its report, its model, its index, and who asked to be left out.

import { aboutIndex, sides } from "./about_index.js";
import { get, path } from "./api.js";
import { bar, histogram, sizes } from "./charts.js";
import { byId, h, show } from "./dom.js";
import { bytes, count, cosine, share, things } from "./format.js";
import { facts } from "./sample_facts.js";
import { table } from "./table.js";

const SHOWN = 12;
const TOLD = 30; // the overview lists no more than these
const { dataset } = document.body.dataset;

async function start() {
  const place = byId("about");
  try {
    const told = await get(path(dataset, "overview"));
    show(place, lead(told), funnel(told), agreement(told), reasons(told), domains(told), pictures(told), fetching(told), index(told), requests(told));
  } catch (error) {
    show(byId("trouble"), h("p", { class: "warn" }, error.message));
    place.replaceChildren();
    if (error.status === undefined) throw error;
  } finally {
    place.removeAttribute("aria-busy");
  }
}

const part = (title, about, ...children) => h("section", { class: "part" }, h("h2", {}, title), about && h("p", { class: "soft" }, about), children);

function lead(told) {
  const kept = told.domains.filter((one) => one.kept).length;
  const numbers = [
    ["found", count(told.rows_in)], ["kept", count(told.rows)], ["share kept", share(told.rows, told.rows_in)],
    ["pictures in it", bytes(told.stored_bytes)], ["domains in it", kept < TOLD ? count(kept) : `${count(kept)} +`], ["threshold", cosine(told.threshold_cos)],
  ];
  return [
    h("p", { class: "lead" }, `Snapshot ${told.snapshot}: of ${things(told.rows_in, "picture")} with their texts, ${count(told.rows)} were kept. For every other one this page says why it was not.`),
    h("dl", { class: "numbers" }, numbers.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  ];
}

function funnel(told) {
  const whole = told.rows_in || 1;
  const steps = told.funnel.map((step, at) => {
    const lost = Object.entries(step.lost).sort((a, b) => b[1] - a[1]);
    const gone = lost.reduce((total, [, n]) => total + n, 0);
    const before = at ? told.funnel[at - 1].rows : step.rows;
    return h(
      "li",
      {},
      h("div", { class: "head" }, h("span", { class: "name" }, step.name), h("span", { class: "soft" }, step.about), h("span", { class: "rows" }, count(step.rows)), h("span", { class: "of" }, at ? `${share(step.rows, before)} of these` : "all")),
      bar(step.rows / whole, gone / whole),
      lost.length > 0 && h("ul", { class: "lost", "aria-label": "let go in this step" }, lost.slice(0, 6).map(([reason, n]) => h("li", {}, `−${count(n)} ${reason}`)), lost.length > 6 && h("li", { class: "quiet" }, `${lost.length - 6} more below`)),
    );
  });
  return part("The sieve", "Each bar is what was left after a step, against all that was found; the pale end is what that step let go.", h("ol", { class: "steps" }, steps));
}

function reasons(told) {
  const all = told.funnel.flatMap((step) => Object.entries(step.lost)).sort((a, b) => b[1] - a[1]);
  const most = all[0]?.[1] ?? 1;
  const lines = all.map(([reason, n]) =>
    h("tr", {}, h("td", {}, h("code", {}, reason)), h("td", { class: "n" }, count(n)), h("td", { class: "n soft" }, share(n, told.rows_in)), h("td", { class: "graph" }, bar(n / most, 0, "lost")), h("td", { class: "says" }, told.reasons[reason] ?? "")));
  const shown = (rows) => table("Reasons", [["reason"], ["pictures", "n"], ["share", "n"], ["", ""], ["what it means"]], rows, "reasons");
  const rest = lines.slice(SHOWN);
  return part(
    "Every reason",
    "The first one that applies to a picture is counted. Shares are of all that was found.",
    lines.length > 0 && shown(lines.slice(0, SHOWN)),
    rest.length > 0 && h("details", { class: "rest" }, h("summary", {}, `${things(rest.length, "rarer reason")}`), shown(rest)),
  );
}

function agreement(told) {
  const { edges, kept, other_reason: other, below_threshold: below } = told.cosines;
  if (edges.length < 3) return null;
  const sum = (counts) => counts.reduce((total, n) => total + n, 0);
  const series = [
    { name: "below the threshold", kind: "lost", counts: below },
    { name: "let go for another reason", kind: "other", counts: other },
    { name: "kept", kind: "kept", counts: kept },
  ];
  const words = `Histogram of the cosine of picture and text. Threshold ${told.threshold_cos}: ${count(sum(below))} pairs let go below it, ${count(sum(kept))} kept, ${count(sum(other))} let go for another reason.`;
  return part(
    "Do picture and text agree?",
    ["The cosine of the two CLIP vectors by ", h("code", {}, told.model), `; pairs at ${told.threshold_cos} and above go on. Cosines of different models cannot be compared.`],
    h("ul", { class: "legend" }, series.map(({ name, kind, counts }) => h("li", { class: `of-${kind}` }, `${name} (${count(sum(counts))})`))),
    histogram({ edges, series, mark: told.threshold_cos, words, axis: "cosine of picture and text" }),
  );
}

function domains(told) {
  return part("Domains and languages", null, h("div", { class: "columns" }, ranked("Domains, by pictures kept", "domain", told.domains, "pairs", told.rows), ranked("Languages of the texts", "language", told.languages, "pairs", told.rows)));
}

function pictures(told) {
  const cells = told.sizes_px?.cells ?? [];
  const words = `Sizes of the original pictures, width against height in pixels; ${things(cells.length, "cell")}. Green: half or more were kept.`;
  const copies = told.copies?.copies ? `${things(told.copies.copies, "picture")} were copies of a kept one, in ${things(told.copies.groups, "group")}.` : "No kept picture has a copy among the others.";
  return part("Sizes, formats, copies", copies, h("div", { class: "columns" }, cells.length > 0 && h("div", {}, h("h3", {}, "Originals"), sizes({ cells, words })), ranked("Formats as they came", "format", told.formats, "fetched", told.rows)));
}

function fetching(told) {
  const rows = (counts) => Object.entries(counts ?? {}).map(([name, kept]) => ({ name, kept }));
  return part("Fetching", null, h("div", { class: "columns" }, ranked("Outcomes", "outcome", rows(told.fetches), null), ranked("Answers by HTTP status", "status", rows(told.http_statuses), null)));
}

function index(told) {
  const model = facts({ model: told.model, "SHA-256 of the weights": told.weights_sha256 && h("code", {}, told.weights_sha256) });
  return part("Model and index", null, h("dl", { class: "facts" }, model, facts(aboutIndex(told.index ?? {}))), sides(told.index?.sides ?? {}));
}

function requests(told) {
  const { registry, tombstones, ...lists } = told.refusals ?? {};
  return part(
    "Who asked to be left out",
    "A sample that somebody asked to remove is hidden at once in every search, and its bytes are erased afterwards. The snapshot says up to which entry of the registry it obeys.",
    h("dl", { class: "facts" }, facts({ "hidden now": things(told.hidden, "sample"), "erased so far": things(told.erased, "sample"), "registry, up to entry": registry, "tombstones, up to file": tombstones, ...lists })),
    h("p", {}, h("a", { href: `/d/${encodeURIComponent(dataset)}/mine` }, "Is one of them yours?")),
  );
}

function ranked(title, name, rows, second, whole = rows.reduce((total, one) => total + one.kept, 0)) {
  const most = Math.max(1, ...rows.map((one) => one.kept));
  const heads = [[name], ["", ""], [second ? "kept" : "pictures", "n"], ["share", "n"], second && [second, "n"]].filter(Boolean);
  const lines = rows.slice(0, SHOWN).map((one) =>
    h("tr", {}, h("td", { class: "wrap" }, h("bdi", {}, one.name)), h("td", { class: "graph" }, bar(one.kept / most)), h("td", { class: "n" }, count(one.kept)), h("td", { class: "n soft" }, share(one.kept, whole)), second && h("td", { class: "n soft" }, count(one.rows))));
  return h("div", {}, h("h3", {}, title), rows.length ? table(title, heads, lines) : h("p", { class: "soft" }, "None."), rows.length > SHOWN && h("p", { class: "note" }, `The first ${SHOWN} of ${rows.length}${rows.length < TOLD ? "" : " or more"}.`));
}

start();
