// What is asked, as chips: pictures, words that are added, words that are taken away.

import { pictureOf } from "./api.js";
import { byId, h, show } from "./dom.js";
import { chip, enter } from "./filters.js";
import { dataOf } from "./pictures.js";
import { termOf } from "./query.js";

/** Show the terms of a query but its typed words; `onChange(query)` when one is removed or turns its sign. */
export function chips(dataset, query, onChange) {
  show(byId("terms"), query.terms.map((term, at) => termChip(dataset, query, term, at, onChange)));
  const pictured = query.terms.some((term) => term.kind !== "text");
  byId("q").placeholder = pictured ? "Words to add to the picture" : "What should the pictures show?";
}

function termChip(dataset, query, term, at, onChange) {
  const remove = () => onChange({ ...query, terms: query.terms.filter((_, i) => i !== at) });
  const turned = { ...term, sign: -term.sign };
  const turn = () => onChange({ ...query, terms: query.terms.map((one, i) => (i === at ? turned : one)) });
  const away = term.sign < 0;
  const sign = h(
    "button",
    { type: "button", click: turn, title: away ? "Add it instead" : "Take it away instead", "aria-label": away ? "Taken away; add it instead" : "Added; take it away instead" },
    away ? "−" : "+",
  );
  const picture = term.kind === "uid" ? pictureOf(dataset, term.value) : term.kind === "picture" ? dataOf(term.value) : null;
  const words = { uid: "this picture", picture: "your picture" }[term.kind] ?? h("bdi", {}, term.value);
  const made = chip([words], remove, { kind: away ? "away" : "", picture });
  made.insertBefore(sign, made.querySelector(".words"));
  return made;
}

/** Let words or an address be added to the query or taken from it. */
export function refining(onTerm) {
  const add = () => {
    const words = byId("words").value.trim();
    if (!words) return byId("words").focus();
    byId("words").value = "";
    return onTerm(termOf(words, Number(byId("sign").value)));
  };
  byId("refine-add").addEventListener("click", add);
  byId("words").addEventListener("keydown", (event) => enter(event, add));
}
