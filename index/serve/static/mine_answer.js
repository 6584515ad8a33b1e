// Show a confirmation answer: the verdict, the rows with their pictures, look-alikes apart, and how sure it is.

import { h, pane, show, weblink } from "./dom.js";
import { count, share, shorten, things } from "./format.js";
import { howFound } from "./mine_words.js";

const AT_FIRST = 12;

/** Fill `section` and return the verdict as a sentence. */
export function answerOf(section, dataset, told, own) {
  const [mark, sentence, more] = verdict(told);
  section.hidden = false;
  show(
    section,
    h("h2", { id: "verdict", class: `verdict ${mark}`, tabindex: "-1" }, sentence),
    more && h("p", { class: "lead" }, more),
    gallery("What was found", [...told.rows, ...told.copies], told.counts.rows + told.counts.copies, dataset, own),
    lookAlikes(told, dataset, own),
    told.refused.length ? h("p", {}, `${things(told.counts.refused, "address", "addresses")} of it ${told.counts.refused === 1 ? "was" : "were"} refused before anything was fetched; only the address is kept, as evidence.`) : null,
    facts(told),
    sureness(told),
  );
  return sentence;
}

function verdict({ found, counts, rows }) {
  const inside = rows.filter((row) => row.in_snapshots.length).length;
  if (found === "yes") {
    const many = counts.rows + counts.copies;
    if (!many) return ["no", "Only its address is known here", "The page said no, so the picture was never fetched."];
    if (counts.rows <= rows.length && !inside) return ["yes", `Yes: it was seen in a crawl, ${things(many, "picture")}`, "It was left out of every version of the data set, and is still known here."];
    return ["yes", many === 1 ? "Yes, it is in here" : `Yes: ${things(many, "picture")} of it are in here`, ""];
  }
  if (found === "unknown" && counts.look_alikes)
    return ["perhaps", "Perhaps: nothing is surely it, but some pictures look alike", "Only a person can tell. They may just as well be somebody else’s."];
  if (found === "unknown") return ["perhaps", "We cannot tell: a part of the data set could not be searched", "Ask for an answer by a person below."];
  return ["no", "No: it was not found in this data set", ""];
}

function gallery(title, rows, all, dataset, own) {
  if (!rows.length) return null;
  const list = h("ol", { class: "gallery found", "aria-label": title }, rows.slice(0, AT_FIRST).map((row) => card(row, dataset)));
  const rest = rows.slice(AT_FIRST);
  const more = rest.length
    ? h("button", { type: "button", click: (event) => { list.append(...rest.map((row) => card(row, dataset))); event.target.remove(); list.children[AT_FIRST].querySelector("a")?.focus(); } }, `Show ${count(rest.length)} more`)
    : null;
  const beyond = all > rows.length ? h("p", { class: "note" }, `${count(all - rows.length)} more are not listed here; a request covers them all the same.`) : null;
  return h("div", { class: own ? "beside" : "" }, own && yours(own), h("div", {}, h("h3", {}, title), list, more, beyond));
}

function yours(own) {
  return h("figure", { class: "yours" }, h("div", { class: "pane" }, h("img", { src: own, alt: "The picture you gave" })), h("figcaption", {}, "Yours"));
}

function lookAlikes(told, dataset, own) {
  if (!told.look_alikes.length) return null;
  const list = h("ol", { class: "gallery found", "aria-label": "Look-alikes" }, told.look_alikes.map((row) => card({ ...row, score: row.cos, how: "neighbour" }, dataset)));
  return h(
    "div",
    { class: own && !told.rows.length ? "beside" : "" },
    own && !told.rows.length && yours(own),
    h("div", {}, h("h3", {}, "Look-alikes"), h("p", { class: "soft" }, "Pictures whose content resembles yours. They are never taken for yours without a person who compares them."), list),
  );
}

function card(row, dataset) {
  const alike = row.how === "neighbour";
  const words = shorten(row.caption ?? "", 120) || "no text";
  const picture = row.picture ? pane(row.picture, words) : h("div", { class: "pane" }, h("span", { class: "gone-picture" }, row.in_snapshots.length ? "no longer shown" : `not in the data set${row.left_out.length ? ` (${row.left_out.join(", ")})` : ""}`));
  return h(
    "li",
    { class: alike ? "hit alike" : "hit", "data-uid": row.uid },
    row.picture ? h("a", { class: "look", href: `/d/${encodeURIComponent(dataset)}/s/${row.uid}` }, picture) : picture,
    h("p", { class: "how" }, h("span", { class: alike ? "badge" : "badge yes" }, howFound(row.how, row.score))),
    row.caption ? h("p", { class: "text", dir: "auto" }, shorten(row.caption, 200)) : null,
    row.url ? h("p", { class: "address" }, weblink(row.url, shorten(row.url, 90))) : null,
  );
}

function facts(told) {
  const names = told.derived.snapshots;
  if (!told.counts.rows && !told.counts.copies) return null;
  const line = (name, value) => [h("dt", {}, name), h("dd", {}, value)];
  return h(
    "dl",
    { class: "facts" },
    line("Versions of the data set with it", names.length ? names.map(Number).join(", ") : "none"),
    line("Found in", Object.keys(told.sources).length ? Object.entries(told.sources).map(([name, rows]) => `${name} (${things(rows, "row")})`).join(", ") : "–"),
    line("Given to", told.releases.length ? told.releases.map((one) => `${one.recipient} (version ${one.snapshot}, ${one.released_utc.slice(0, 10)})`).join("; ") : "nobody: no release holds it"),
    line("Models trained with it", told.checkpoints.length ? told.checkpoints.join(", ") : "none are recorded"),
  );
}

function sureness({ scope, found }) {
  const searched = `Searched: ${things(scope.rows, "row")}, ${things(scope.pictures, "stored picture")}, ${things(scope.snapshots.length, "version")} of the data set.`;
  const missing = scope.missing.length ? ` ${things(scope.missing.length, "part")} could not be read.` : "";
  const removed = "What is being removed at somebody’s request is not shown and not counted.";
  if (scope.recall === 1) return h("p", { class: "note" }, `${searched}${missing} Within that, an address, site, name or file is never missed. ${removed}`);
  const measured = Object.entries(scope.recall.picture);
  const alike = scope.look_alikes_from_cos === null ? "Pictures that only look alike could not be looked for." : `Pictures that only look alike are found by their content besides, from a cosine of ${scope.look_alikes_from_cos} on.`;
  return h(
    "details",
    { class: "sure", open: found === "no" },
    h("summary", {}, found === "no" ? "How sure is that?" : "What was searched, and how sure it is"),
    h("p", {}, `${searched}${missing} The same file is never missed. Of altered copies of a picture, this share is recognised:`),
    h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Change"), h("th", { scope: "col", class: "n" }, "Recognised"))), h("tbody", {}, measured.map(([change, part]) => h("tr", {}, h("td", {}, change), h("td", { class: "n" }, share(part)))))),
    h("p", { class: "note" }, `Measured on ${scope.recall.measured_on.split(";")[0]}. ${alike} ${removed}`),
  );
}
