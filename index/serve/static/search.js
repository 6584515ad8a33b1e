// The search page: the address bar says what is asked, everything else follows from it.

import { get } from "./api.js";
import { byId, h, show } from "./dom.js";
import * as filters from "./filters.js";
import { landing } from "./landing.js";
import { listen } from "./picture_input.js";
import { take } from "./pictures.js";
import { asks, read, typed, write } from "./query.js";
import { PAGE, Results } from "./results.js";
import * as terms from "./terms.js";
import * as words from "./words.js";

const MOST_AT_ONCE = 240; // hits that "back" brings again in one request
const dataset = document.body.dataset.dataset;
const ready = prepare();
let query;
let results;

/** Ask what the data set is and make ready what depends on it; the form works before that. */
async function prepare() {
  const info = (await get("/datasets")).find((one) => one.name === dataset);
  results = new Results(dataset, info, (hit) => write({ ...read(""), terms: [{ kind: "uid", value: hit.uid, sign: 1 }] }));
  filters.panel(info.columns, {
    onAdd: (condition) => go({ ...query, where: [...query.where, condition] }),
    onLeast: (least) => go({ ...query, least }),
  });
  byId("modality-choice").hidden = !info.modalities.includes("text");
  return info;
}

function start() {
  history.scrollRestoration = "manual";
  const begun = byId("q").value; // typed before this script was there
  wire();
  run(history.state);
  byId("q").value ||= begun;
}

function wire() {
  terms.refining((term) => go({ ...query, terms: [...query.terms, term] }));
  byId("ask").addEventListener("submit", (event) => {
    event.preventDefault();
    go(typed(query, byId("q").value));
  });
  byId("once").addEventListener("change", (event) => go({ ...query, once: event.target.checked }));
  byId("modality").addEventListener("change", (event) => go({ ...query, modality: event.target.value }));
  listen({
    onFile: (file) => take(file).then((name) => picture({ kind: "picture", value: name, sign: 1 }), trouble),
    onAddress: (url) => picture({ kind: "address", value: url, sign: 1 }),
    onUid: (uid) => picture({ kind: "uid", value: uid, sign: 1 }),
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-like]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(read(new URL(link.href).search)).then(() => byId("hits").focus({ preventScroll: true }));
  });
  window.addEventListener("popstate", (event) => run(event.state));
  window.addEventListener("pagehide", remember);
  window.addEventListener("pageshow", (event) => event.persisted && run(history.state)); // what was removed since must go
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|SELECT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      byId("q").focus();
    }
  });
}

/** Search with a picture in the place of the pictures that were there; filters stay. */
function picture(term) {
  return go({ ...query, q: "", terms: [term] });
}

/** Ask something else: a new entry of the history. */
function go(next) {
  if (write(next) === write(query)) return run(null); // asked once more
  remember();
  history.pushState(null, "", write(next));
  window.scrollTo(0, 0);
  return run(null);
}

/** Keep with this entry of the history how much was shown and where the reader was. */
function remember() {
  if (results?.shown) history.replaceState({ shown: results.shown, y: window.scrollY }, "");
}

/** Show what the address bar asks for. */
async function run(state) {
  const asked = (query = read(location.search));
  reflect();
  let info;
  try {
    info = await ready;
  } catch (error) {
    return trouble(error);
  }
  if (query !== asked) return undefined; // something else was asked meanwhile
  words.offer(dataset, query, info);
  if (!asks(query)) landing(dataset, info);
  if (!asks(query) && !info.index.dimensions) return results.clear(); // without a direction there is no order to leaf in
  await results.begin(query, Math.min(Math.max(state?.shown ?? PAGE, PAGE), MOST_AT_ONCE));
  if (state?.y && query === asked) window.scrollTo(0, state.y);
  return undefined;
}

/** Bring form, chips and title to the state of the query. */
function reflect() {
  byId("q").value = query.q;
  byId("once").checked = query.once;
  byId("least").value = query.least ?? "";
  byId("modality").value = query.modality;
  const change = (next) => go(next).then(() => byId("q").focus({ preventScroll: true }));
  terms.chips(dataset, query, change);
  filters.chips(query, change);
  document.title = [query.q || (query.terms.length && "Like a picture"), dataset].filter(Boolean).join(" · ");
  byId("landing").hidden = asks(query);
}

function trouble(error) {
  show(byId("trouble"), h("p", { class: "warn" }, error.message));
}

start();
