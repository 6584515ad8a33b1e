// The page of a sample: everything that is known of it.

import { get, path, pictureOf, post } from "./api.js";
import { announce, byId, h, pane, show, weblink } from "./dom.js";
import { cosine, day, shorten, things } from "./format.js";
import { agreement } from "./hits.js";
import { facts, nameOf, said } from "./sample_facts.js";

const NEIGHBOURS = 12;
const { dataset, uid } = document.body.dataset;
const here = `/d/${encodeURIComponent(dataset)}`;
const like = (one) => `${here}/?${new URLSearchParams({ with: `uid:${one}` })}`;

async function start() {
  const place = byId("sample");
  try {
    const told = await get(path(dataset, "samples", uid));
    show(place, top(told), nearest(), origin(told), rights(told), said(told.signals), measured(told), copies(told), ways(told), digests(told));
    document.title = `${shorten(told.facts.caption, 60) || "A sample"} · ${dataset}`;
    announce("The sample is shown.");
  } catch (error) {
    const gone = error.status === 404 || error.status === 422;
    const words = gone ? "This data set has no such sample, or it is not shown any more." : error.message;
    show(place, h("h1", {}, gone ? "Not here" : "It could not be looked up"), h("p", { class: gone ? "lead" : "warn" }, words), h("p", {}, h("a", { href: `${here}/` }, "Search the data set")));
    if (error.status === undefined) throw error;
  } finally {
    place.removeAttribute("aria-busy");
  }
}

const part = (title, ...children) => h("section", { class: "part" }, h("h2", {}, title), children);

function top(told) {
  const { caption, clip_cos: cos, width, height, url } = told.facts;
  const long = Array.from(caption).length > 160;
  const mine = new URLSearchParams({ uid: told.uid, url });
  return h(
    "div",
    { class: "top" },
    h("figure", {}, look(told, caption)),
    h(
      "div",
      {},
      h("p", { class: "eyebrow" }, "A sample"),
      h("h1", { dir: "auto" }, shorten(caption, 160) || "No text"),
      long && h("details", { class: "whole" }, h("summary", {}, "The whole text"), h("p", { dir: "auto", class: "wrap" }, caption)),
      h("p", { class: "soft agree" }, "Picture and text agree by ", h("span", { class: "cos high" }, cosine(cos)), agreement(cos, told.threshold_cos), `threshold ${cosine(told.threshold_cos)}`),
      h("div", { class: "row" }, h("a", { class: "button main", href: like(told.uid) }, "More like this"), h("a", { class: "button", href: `${here}/mine?${mine}` }, "Is this mine?")),
      h("dl", { class: "facts" }, facts({ found_at: weblink(url), page_url: told.facts.page_url && weblink(told.facts.page_url), domain: told.facts.domain, licence: told.rights?.license && weblink(told.rights.license), stored: width && `${width} × ${height} pixels`, kept_in: `snapshot ${told.snapshot}` })),
    ),
  );
}

function look(told, caption) {
  const image = h("img", { src: pictureOf(dataset, told.uid), alt: shorten(caption, 200), width: told.facts.width, height: told.facts.height });
  const box = h("div", { class: "whole-picture" }, image);
  image.addEventListener("error", () => show(box, h("p", { class: "gone-picture" }, "The picture is no longer here.")), { once: true });
  return box;
}

function nearest() {
  const strip = h("ul", { class: "strip", "aria-busy": "true" });
  const section = part("Nearest pictures", strip);
  const asked = { terms: [{ uid, weight: 1 }], k: NEIGHBOURS + 1, deduplicate: false };
  post(path(dataset, "search"), asked).then(
    ({ hits }) => {
      const others = hits.filter((hit) => hit.uid !== uid);
      show(strip, others.map((hit) => h("li", {}, link(hit.uid, shorten(hit.caption, 100)), h("span", { class: "note" }, cosine(hit.cos)))));
      strip.removeAttribute("aria-busy");
      section.hidden = !others.length;
    },
    () => (section.hidden = true),
  );
  return section;
}

const link = (one, words) => h("a", { href: `${here}/s/${one}`, class: "look" }, pane(pictureOf(dataset, one), words));

function origin({ facts: row }) {
  const { original_width: width, original_height: height, ...rest } = row;
  const shown = ["found_at", "page_url", "domain", "caption", "url", "key", "clip_cos", "width", "height", "sha256", "md5", "phash64", "pdq256"];
  const others = Object.fromEntries(Object.entries(rest).filter(([name]) => !shown.includes(name)));
  const lines = facts({ original: width && `${width} × ${height} pixels`, ...others });
  return lines.length > 0 && part("How it was found", h("dl", { class: "facts" }, lines));
}

function rights({ rights: given }) {
  const lines = facts(given ?? {});
  return part("Rights", lines.length ? h("dl", { class: "facts" }, lines) : h("p", { class: "soft" }, "Neither the picture nor its page says anything of rights."));
}

function measured(told) {
  const scores = Object.entries(told.scores ?? {}).filter(([, value]) => value !== null);
  const copied = told.decisions.some((one) => one.duplicate_of);
  const decided = told.decisions.map((one) =>
    h("tr", {}, h("td", {}, `snapshot ${one.snapshot}`), h("td", {}, h("span", { class: one.reason ? "badge no" : "badge yes" }, one.reason ?? "kept")), h("td", { class: "wrap" }, one.reason ? one.says : h("code", {}, one.shard ?? "")),
      copied && h("td", {}, one.duplicate_of && h("a", { href: `${here}/s/${one.duplicate_of}` }, "the one it copies"))),
  );
  return part(
    "Scores and decisions",
    scores.length > 0 && h("dl", { class: "facts two" }, facts(told.scores)),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Decisions" },
      h("table", {}, h("thead", {}, h("tr", {}, ["in", "decision", "why, or where", ...(copied ? ["copy of"] : [])].map((word) => h("th", { scope: "col" }, word)))), h("tbody", {}, decided))),
  );
}

function copies({ copies: others }) {
  const kept = others.filter((one) => one.kept);
  const gone = others.length - kept.length;
  if (!others.length) return part("Copies", h("p", { class: "soft" }, "No copy of it was found in the crawl."));
  return part(
    "Copies",
    h("p", { class: "soft" }, `${things(others.length, "other picture")} of the crawl ${others.length === 1 ? "is a copy" : "are copies"} of it. ${gone ? `${things(gone, "of them was", "of them were")} left out for that.` : ""}`),
    kept.length > 0 && h("ul", { class: "strip" }, kept.map((one) => h("li", {}, link(one.uid, "a copy")))),
    gone > 0 && h("details", {}, h("summary", {}, "Their uids"), h("ul", { class: "mono" }, others.filter((one) => !one.kept).map((one) => h("li", {}, one.uid)))),
  );
}

function ways(told) {
  const releases = told.releases.map((one) => h("li", {}, `Release ${one.release} of snapshot ${one.snapshot}, ${day(one.released_utc)}`));
  const seen = told.checkpoints.map((one) => h("li", { class: "wrap" }, typeof one === "string" ? one : Object.entries(one).map(([name, value]) => `${nameOf(name)}: ${value}`).join(", ")));
  return part(
    "Where it went",
    h("h3", {}, "Releases"),
    releases.length ? h("ul", {}, releases) : h("p", { class: "soft" }, "It is in no release that was given to anybody."),
    h("h3", {}, "Checkpoints of models"),
    seen.length ? h("ul", {}, seen) : h("p", { class: "soft" }, "No known checkpoint was trained with it."),
  );
}

const digests = (told) =>
  part("Names and digests", h("dl", { class: "facts mono" }, facts({ uid: told.uid, ...Object.fromEntries(["sha256", "md5", "phash64", "pdq256"].map((name) => [name, told.facts[name]])) })));

start();
