// What kinds, grounds, states and refusals are called at the desk.

export const KINDS = {
  url: "an address", url_prefix: "addresses that begin so", host: "a host", domain: "a site", uid: "a sample", sha256: "a file’s SHA-256",
  md5: "a file’s MD5", pdq: "a PDQ hash", phash64: "a picture hash", text: "words in texts", creator: "a creator", picture: "a picture", list: "a list",
};
export const GROUNDS = {
  train: "no training", tdm: "text and data mining reserved", gdpr15: "asks for confirmation (art. 15)", gdpr17: "erasure (art. 17)",
  gdpr21: "objection (art. 21)", copyright: "copyright", dmca: "DMCA", csam: "CSAM", ncii: "intimate pictures",
};
export const STATES = {
  received: "received", identified: "identified", proposed: "to compare", confirmed: "confirmed", tombstoned: "hidden",
  erased: "erased", closed: "closed", withdrawn: "withdrawn", refused: "refused",
};
export const REFUSALS = {
  not_identifiable: "What was named cannot be told apart from other things",
  identity_not_shown: "Not shown that the pictures are theirs to speak for",
  not_in_scope: "Not in this data set, or not what the law covers",
  manifestly_unfounded: "Manifestly unfounded",
  excessive: "Excessive",
  legal_obligation: "The law asks us to keep it",
};

/** Name the state of a request. */
export const stateOf = (one) => (one.waits ? (one.asks ? "to answer" : "to accept") : one.asks && one.state === "closed" ? "answered" : (STATES[one.state] ?? one.state));

/** Say how long there is. */
export function dueIn(one) {
  if (one.days_left === null) return "";
  if (one.overdue) return one.days_left < -1 ? `${-one.days_left - 1} days overdue` : "overdue";
  return one.days_left === 0 ? "due today" : one.days_left === 1 ? "1 day left" : `${one.days_left} days left`;
}
