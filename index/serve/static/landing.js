// What the search page shows before anything is asked.

import { byId, h, show } from "./dom.js";
import { count } from "./format.js";

/** Invite to search, and tell what there is. */
export function landing(dataset, info) {
  show(
    byId("landing"),
    h("h2", {}, `${count(info.rows)} pictures, found by what they show`),
    h(
      "p",
      { class: "soft" },
      "Type a few words, or give a picture: choose it, paste it, or drop it anywhere on this page. An address of a picture works too. ",
      h("a", { href: `/d/${encodeURIComponent(dataset)}/about` }, "What this data set is made of"),
    ),
  );
}
