// Filters as chips, and the panel that makes new ones from the columns the data set has.

import { byId, h, show } from "./dom.js";
import { isNumber } from "./query.js";

const FIRST = ["domain", "lang", "language", "license", "width", "height", "clip_cos", "caption", "url", "page_url"];
const NEVER = /^(id|key|shard|shard_offset|shard_bytes|row|status|error_message)$/;
const NAMES = {
  clip_cos: "agreement of picture and text", lang: "language", license: "licence", page_url: "page", url: "address",
  via: "fetched from", text_from: "text from", original_width: "original width", original_height: "original height", rights_marked: "marked as",
  width: "width in pixels", height: "height in pixels", caption: "text",
};
const SIGNS = { "=": "is", "!=": "is not", "~": "contains", ">=": "at least", "<=": "at most", ">": "more than", "<": "less than" };

/** Call a column by a name for people. */
export const nameOf = (column) => NAMES[column] ?? column.replaceAll("_", " ");

/** Fill the panel and call `onAdd(condition)` for each new filter, `onLeast(number or null)` for the smallest cosine. */
export function panel(columns, { onAdd, onLeast }) {
  const rank = (name) => (FIRST.indexOf(name) + 1 || FIRST.length + 1);
  const names = Object.keys(columns).filter((name) => !NEVER.test(name)).sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));
  const column = byId("column");
  show(column, names.map((name) => h("option", { value: name }, nameOf(name))));
  const signs = () => {
    const type = columns[column.value] ?? "";
    const fit = isNumber(type) ? [">=", "<=", "=", "!="] : type.startsWith("bool") ? ["=", "!="] : ["=", "~", "!="];
    show(byId("op"), fit.map((op) => h("option", { value: op }, SIGNS[op])));
    byId("value").inputMode = isNumber(type) ? "decimal" : "text";
    byId("value").placeholder = type.startsWith("bool") ? "true or false" : isNumber(type) ? "a number" : "";
  };
  column.addEventListener("change", signs);
  signs();
  const add = () => {
    const value = byId("value").value.trim();
    if (!value) return byId("value").focus();
    byId("value").value = "";
    return onAdd({ column: column.value, op: byId("op").value, value });
  };
  byId("value").addEventListener("focus", () => {
    const met = column.value === "domain" ? [...document.querySelectorAll(".hit .domain")].map((one) => one.textContent) : [];
    show(byId("values"), [...new Set(met)].sort().map((value) => h("option", { value })));
  });
  byId("filter-add").addEventListener("click", add);
  byId("value").addEventListener("keydown", (event) => enter(event, add));
  byId("least").addEventListener("change", (event) => onLeast(event.target.value === "" ? null : Number(event.target.value)));
  byId("least").addEventListener("keydown", (event) => enter(event, () => byId("least").blur()));
}

/** Do something on the Enter key and keep it from sending the form. */
export function enter(event, act) {
  if (event.key !== "Enter" || event.isComposing) return;
  event.preventDefault();
  act();
}

/** Show the filters of a query as chips; `onRemove(query without it)`. */
export function chips(query, onRemove) {
  const made = query.where.map((one, at) =>
    chip([nameOf(one.column), " ", SIGNS[one.op], " ", h("bdi", {}, one.value)], () =>
      onRemove({ ...query, where: query.where.filter((_, i) => i !== at) })),
  );
  if (query.least !== null) made.push(chip([`cosine at least ${query.least}`], () => onRemove({ ...query, least: null })));
  show(byId("filters"), made);
}

/** Make a chip with a button that removes it. */
export function chip(words, remove, { kind = "plain", picture = null } = {}) {
  const text = h("span", { class: "words" }, words);
  const button = h("button", { type: "button", click: remove, "aria-label": `Remove: ${text.textContent}`, title: "Remove" }, "×");
  return h("li", { class: `chip ${kind}` }, picture && h("img", { src: picture, alt: "", width: 30, height: 30 }), text, button);
}
