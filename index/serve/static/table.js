// A table that can be scrolled sideways with the keyboard where it is wider than the page.

import { h } from "./dom.js";

/** Make a table; `heads` are [words, class], `lines` the rows of its body. */
export function table(title, heads, lines, kind = "") {
  const head = heads.map(([words, place]) => (words ? h("th", { scope: "col", class: place }, words) : h("td", { class: "empty" })));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": title }, h("table", { class: kind }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, lines)));
}
