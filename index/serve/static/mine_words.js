// How a row came to be found, in words for people.

import { cosine, things } from "./format.js";

const SURE = {
  sha256: "the same file", md5: "the same file", phash64: "the same picture", uid: "this sample", url: "at this address",
  url_prefix: "under this address", host: "on this host", domain: "on this site", text: "these words", creator: "names its creator",
  copy: "a copy of it", refused: "refused before it was fetched", list: "on a list",
};

/** Say how a row was found. */
export function howFound(how, score) {
  if (how === "neighbour") return `looks alike, cosine ${cosine(score)}`;
  if (how === "pdq") return score ? `the same picture, ${things(score, "bit")} apart` : "the same picture";
  return SURE[how] ?? how;
}
