// Facts as lists of names and values, and what was said about a sample's use with the evidence.

import { h, isWebAddress, weblink } from "./dom.js";
import { minute } from "./format.js";

const NAMES = {
  found_at: "picture", page_url: "page", domain: "site", source: "crawl file", lang: "language of the text", text_from: "text from",
  content_type: "type, as served", via: "fetched from", original: "size, as served", licence: "licence", license: "licence",
  creator: "creator", web_statement: "statement on the web", rights_marked: "marked as", uid: "uid", sha256: "SHA-256 of the original",
  md5: "MD5 of the original", phash64: "perceptual hash", pdq256: "PDQ", clip_cos: "picture and text agree by", stored: "stored size",
  text_words: "words of the text", vectorart_score: "looks like vector art", kept_in: "kept in", text_chars: "characters of the text", text_cjk: "of them CJK", text_kind: "kind of text", language_prob: "certainty of the language",
  picture_colours: "richness in colours", picture_flat_frac: "share of flat areas", picture_edge_frac: "share of edges", nsfw_prob: "probability of not being safe for work", watermark_prob: "probability of a watermark", aesthetic_score: "aesthetic score",
};
const CATEGORIES = { tdm: "text and data mining", crawl: "crawling", train: "training", "ai-train": "training of AI", index: "indexing" };
const KINDS = { allow: "badge yes", deny: "badge no" };

/** Call a fact by a name for people. */
export const nameOf = (name) => NAMES[name] ?? name.replaceAll("_", " ");

/** Return the lines of a list of facts; what is not known is left out. */
export function facts(given) {
  return Object.entries(given)
    .filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
    .map(([name, value]) => h("div", {}, h("dt", {}, nameOf(name)), h("dd", {}, shown(value))));
}

function shown(value) {
  if (value instanceof Node) return value;
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : value.toFixed(3);
  if (value === true) return "yes";
  const text = typeof value === "object" ? JSON.stringify(value) : String(value);
  return isWebAddress(text) ? weblink(text) : h("span", { dir: "auto" }, text);
}

/** Show what was said about the use of a sample, where, when, and in which words. */
export function said(signals) {
  const lines = (signals ?? []).map((one) =>
    h(
      "tr",
      {},
      h("td", {}, h("strong", {}, one.mechanism), h("br"), h("span", { class: "note wrap" }, one.subject_url && weblink(one.subject_url, place(one.subject_url)))),
      h("td", {}, CATEGORIES[one.category] ?? one.category, one.agent_scope && one.agent_scope !== "*" && h("span", { class: "note" }, ` · ${one.agent_scope}`)),
      h("td", {}, h("span", { class: KINDS[one.value] ?? "badge" }, one.value), one.flag && h("span", { class: "note" }, ` ${one.flag}`)),
      h("td", { class: "evidence" }, h("code", { class: "wrap", dir: "auto" }, one.raw ?? ""), h("br"), h("span", { class: "note" }, minute(one.observed_utc))),
    ),
  );
  const heads = ["said by", "about", "says", "in these words"].map((word) => h("th", { scope: "col" }, word));
  return h(
    "section",
    { class: "part" },
    h("h2", {}, "What was said about its use"),
    lines.length
      ? h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Signals" }, h("table", { class: "signals" }, h("thead", {}, h("tr", {}, heads)), h("tbody", {}, lines)))
      : h("p", { class: "soft" }, "No statement was met where it was fetched. Pictures whose site or page says no are not fetched at all."),
  );
}

function place(url) {
  if (!isWebAddress(url)) return url;
  const { host, pathname } = new URL(url);
  return host + (pathname.length > 40 ? `${pathname.slice(0, 40)}…` : pathname);
}
