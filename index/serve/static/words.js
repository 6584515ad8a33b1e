// "Say it in words": what the texts near a picture say, as a start for a search or a prompt.

import { path, post } from "./api.js";
import { byId, h, show } from "./dom.js";
import { cosine, shorten } from "./format.js";
import { body, read, write } from "./query.js";

const SHOWN = 12;
let wanted = () => {};

/** Offer words for a query that has a picture in it; they are asked for when the panel is opened. */
export function offer(dataset, query, info) {
  const details = byId("in-words");
  details.hidden = !info.modalities.includes("text") || !query.terms.some((term) => term.kind !== "text");
  details.open = false;
  details.removeEventListener("toggle", wanted);
  wanted = () => details.open && ask(dataset, query, info);
  details.addEventListener("toggle", wanted);
}

async function ask(dataset, query, info) {
  const panel = byId("in-words-panel");
  show(panel, h("p", { class: "soft busy" }, "Reading the texts nearby …"));
  try {
    const { phrases, captions } = await post(path(dataset, "captions"), { ...body(query, info, new Set()), k: 40 });
    const search = (text) => write({ ...read(""), q: text });
    show(
      panel,
      h("ul", { class: "chips", "aria-label": "Phrases" }, phrases.slice(0, SHOWN).map(({ phrase }) => h("li", {}, h("a", { class: "chip", href: search(phrase), dir: "auto" }, shorten(phrase, 60))))),
      h("ol", { class: "captions", "aria-label": "Texts nearby" }, captions.slice(0, 5).map(({ caption, cos }) => h("li", {}, h("span", { dir: "auto" }, shorten(caption, 140)), h("span", { class: "note" }, ` ${cosine(cos)}`)))),
    );
  } catch (error) {
    show(panel, h("p", { class: "note" }, error.message));
  }
}
