// The hits of one query, page by page: by scrolling for ten pages, by the button always.

import { ApiError, path, post } from "./api.js";
import { announce, byId, show } from "./dom.js";
import { cosine, count, things } from "./format.js";
import { card, thresholdLine, waiting } from "./hits.js";
import { asks, body, isWords } from "./query.js";

export const PAGE = 30; // whole rows of 2, 3, 5 and 6
const PAGES_BY_SCROLLING = 10; // after that whoever scrolls reaches the foot of the page
const foreign = new Set(); // addresses that no picture of the data set has: the server is asked to fetch those

const legend = (threshold) =>
  `The number is the cosine to what you asked; the bar, how well picture and text agree, ticked at the data set's threshold of ${cosine(threshold)}.`;

export class Results {
  constructor(dataset, info, likeThis) {
    Object.assign(this, { dataset, info, likeThis, shown: 0, next: null, asked: null, pages: 0, lined: false });
    this.list = byId("hits");
    byId("more-button").addEventListener("click", () => this.more(true));
    new IntersectionObserver(([entry]) => entry.isIntersecting && this.pages < PAGES_BY_SCROLLING && this.more(false), {
      rootMargin: "600px",
    }).observe(byId("more"));
  }

  /** Show the first `k` hits of a query in the place of what is there. */
  async begin(query, k = PAGE) {
    this.clear();
    this.query = query;
    show(this.list, Array.from({ length: 12 }, waiting));
    await this.load(0, k, () => this.list.replaceChildren());
    if (this.query !== query) return;
    this.tell();
  }

  /** Show the next hits; who asked by the button gets the focus on the first of them, also of those that were on their way. */
  async more(byButton) {
    if (this.next === null && !this.coming) return;
    const query = this.query;
    const before = this.list.querySelectorAll(".hit").length;
    this.coming ??= this.load(this.next, PAGE, () => {});
    await this.coming;
    if (this.query !== query) return;
    this.coming = null;
    const first = this.list.querySelectorAll(".hit")[before];
    if (byButton) first?.querySelector("a").focus();
    if (first) announce(`${things(this.shown, "picture")} shown.`);
  }

  /** Forget the query and its hits. */
  clear() {
    this.asked?.abort();
    Object.assign(this, { shown: 0, next: null, asked: null, pages: 0, lined: false, query: null, coming: null });
    this.list.replaceChildren();
    byId("trouble").replaceChildren();
    byId("more").hidden = byId("count").hidden = true;
  }

  async load(offset, k, arrived) {
    const asked = (this.asked = new AbortController());
    this.list.setAttribute("aria-busy", "true");
    try {
      const answer = await this.ask(offset, k, asked.signal);
      arrived();
      this.add(answer);
    } catch (error) {
      if (asked.signal.aborted) return;
      if (offset === 0) this.list.replaceChildren();
      this.next = offset ? this.next : null;
      this.trouble(error);
    } finally {
      if (this.asked === asked) {
        this.asked = null;
        this.list.removeAttribute("aria-busy");
        byId("more").hidden = this.next === null;
      }
    }
  }

  async ask(offset, k, signal) {
    const where = path(this.dataset, "search");
    const request = () => post(where, { ...body(this.query, this.info, foreign), k, offset }, { signal });
    try {
      return await request();
    } catch (error) {
      const unknown = this.query.terms.filter(({ kind, value }) => kind === "address" && !foreign.has(value));
      if (!(error instanceof ApiError) || error.status < 400 || error.status >= 500 || error.status === 429 || !unknown.length) throw error;
      for (const { value } of unknown) foreign.add(value);
      return request();
    }
  }

  add(answer) {
    const words = isWords(this.query);
    for (const hit of answer.hits) {
      if (words && !this.lined && hit.cos < this.info.threshold_cos) {
        this.list.append(thresholdLine(this.info.threshold_cos));
        this.lined = true;
      }
      this.list.append(card(this.dataset, hit, this.info, this.likeThis, asks(this.query)));
      this.shown += 1;
    }
    this.pages += 1;
    this.snapshot = answer.snapshot;
    this.next = answer.hits.length ? answer.next_offset : null;
  }

  tell() {
    if (byId("trouble").childElementCount) return;
    const filtered = this.query.where.length || this.query.least !== null;
    const none = `Nothing was found${filtered ? ": loosen or remove a filter" : ""}.`;
    const leafing = `Leafing through ${things(this.info.rows, "picture")}, in no particular order.`;
    const told = this.shown && !asks(this.query) ? leafing : this.shown ? `The nearest of ${things(this.info.rows, "picture")}. ${legend(this.info.threshold_cos)}` : none;
    const line = byId("count");
    line.hidden = false;
    line.textContent = told;
    announce(this.shown ? `${count(this.shown)} pictures shown${this.next === null ? "" : ", more can be loaded"}.` : told);
  }

  trouble(error) {
    const sentence = document.createElement("p");
    sentence.className = "warn";
    sentence.textContent = error.message;
    byId("trouble").replaceChildren(sentence);
    if (!(error instanceof ApiError) && !/tab any more/.test(error.message)) throw error; // our own mistake: let the console have it
  }
}
