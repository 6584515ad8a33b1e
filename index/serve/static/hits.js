// One card a hit, and the line where a search by words falls under the data set's threshold.

import { pictureOf } from "./api.js";
import { h, pane, svg } from "./dom.js";
import { cosine, shorten } from "./format.js";

/** Make the card of a hit; `likeThis(hit)` gives the address of the search for its neighbours; unless `ranked`, the cosine says nothing. */
export function card(dataset, hit, info, likeThis, ranked) {
  const caption = shorten(hit.caption, 280);
  const words = shorten(hit.caption, 120) || "no text";
  return h(
    "li",
    { class: "hit", "data-uid": hit.uid },
    h("a", { class: "look", href: `/d/${encodeURIComponent(dataset)}/s/${hit.uid}` }, pane(pictureOf(dataset, hit.uid), words)),
    h("p", { class: "text", dir: "auto" }, caption),
    h(
      "p",
      { class: "facts" },
      ranked && h("span", { class: "cos high", title: "cosine to what you asked" }, cosine(hit.cos)),
      agreement(hit.clip_cos, info.threshold_cos),
    ),
    h("p", { class: "facts" }, h("span", { class: "domain", dir: "ltr", title: hit.domain }, hit.domain)),
    h("a", { class: "like", href: likeThis(hit), "data-like": hit.uid, "aria-label": `More like this: ${words}` }, "More like this"),
  );
}

/** Draw how well a picture and its own text agree, with the threshold of the data set as a tick. */
export function agreement(cos, threshold) {
  if (!Number.isFinite(cos)) return null;
  const most = Math.max(0.4, 3 * threshold);
  const at = (value) => Math.max(0, Math.min(100, (100 * value) / most));
  const told = `picture and text agree by ${cosine(cos)}; the threshold is ${cosine(threshold)}`;
  return h(
    "span",
    { class: "agreement", title: told, role: "img", "aria-label": told },
    svg(
      "svg",
      { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("rect", { class: "track", y: 3, width: 100, height: 6, rx: 3 }),
      svg("rect", { class: cos < threshold ? "fill low" : "fill", y: 3, width: at(cos), height: 6, rx: 3 }),
      svg("rect", { class: "tick", x: at(threshold) - 0.8, width: 1.6, height: 12 }),
    ),
  );
}

/** Make the line that stands where cosines to the words fall under the threshold. */
export const thresholdLine = (threshold) =>
  h("li", { class: "line" }, h("span", {}, `Below this line the model would not call picture and words a pair: under ${cosine(threshold)}, the data set's threshold`));

/** Make an empty card for the time of waiting. */
export const waiting = () =>
  h("li", { class: "hit waiting", "aria-hidden": "true" }, h("div", { class: "pane busy" }), h("p", { class: "text busy" }), h("p", { class: "facts busy" }));
