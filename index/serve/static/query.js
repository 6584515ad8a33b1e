// What is asked, as the address bar holds it: every search can be linked, kept, and gone back to.
//
// ?q=words&with=KIND:VALUE&without=KIND:VALUE&where=domain=painter.example&least=0.2&once=1&in=text
// KIND: text, uid, address (of a picture, ours or anybody's), picture (kept in this tab; see pictures.js).

import { isWebAddress } from "./dom.js";
import { base64Of } from "./pictures.js";

const KINDS = ["text", "uid", "address", "picture"];
const CONDITION = /^([A-Za-z_]\w*)(!=|<=|>=|=|<|>|~)(.*)$/s;

/** Read a query from a location's search; what cannot be understood is left out. */
export function read(search) {
  const given = new URLSearchParams(search);
  const terms = [...given]
    .filter(([name]) => name === "with" || name === "without")
    .map(([name, text]) => ({ kind: text.split(":", 1)[0], value: text.slice(text.indexOf(":") + 1), sign: name === "with" ? 1 : -1 }))
    .filter(({ kind, value }) => KINDS.includes(kind) && value);
  const where = given.getAll("where").map((text) => CONDITION.exec(text)).filter(Boolean);
  const least = given.get("least");
  return {
    q: (given.get("q") ?? "").trim(),
    terms,
    where: where.map(([, column, op, value]) => ({ column, op, value })),
    least: least && Number.isFinite(Number(least)) ? Number(least) : null,
    once: given.get("once") === "1",
    modality: given.get("in") === "text" ? "text" : "image",
  };
}

/** Write a query as the search of a location; "?" when nothing is asked. */
export function write(query) {
  const out = new URLSearchParams();
  if (query.q) out.append("q", query.q);
  for (const { kind, value, sign } of query.terms) out.append(sign > 0 ? "with" : "without", `${kind}:${value}`);
  for (const { column, op, value } of query.where) out.append("where", column + op + value);
  if (query.least !== null) out.append("least", String(query.least));
  if (query.once) out.append("once", "1");
  if (query.modality === "text") out.append("in", "text");
  return `?${out}`;
}

/** Return the query with the words that somebody typed as its text; an address or a uid becomes a term of its own. */
export function typed(query, words) {
  const text = words.trim();
  const term = termOf(text, 1);
  return term.kind === "text" ? { ...query, q: text } : { ...query, q: "", terms: [...query.terms, term] };
}

/** Return the term that a text means: an address of the web, a uid, or words. */
export function termOf(text, sign) {
  if (isWebAddress(text)) return { kind: "address", value: text, sign };
  return /^[0-9a-f]{32}$/i.test(text) ? { kind: "uid", value: text.toLowerCase(), sign } : { kind: "text", value: text, sign };
}

/** Tell whether there is anything to search for. */
export const asks = (query) => query.q !== "" || query.terms.length > 0;

/** Tell whether only words are asked for: then cosines compare to the data set's threshold, which is one of picture and text. */
export const isWords = (query) =>
  query.modality === "image" && (query.q !== "") !== (query.terms.length > 0) && query.terms.every((term) => term.kind === "text" && term.sign > 0);

/** Return the body of the search request. `foreign` has the addresses that no picture of the data set has. */
export function body(query, { columns, index }, foreign) {
  const terms = query.terms.map(({ kind, value, sign }) => ({ ...termBody(kind, value, foreign), weight: sign }));
  if (query.q) terms.unshift({ text: query.q, weight: 1 });
  if (!terms.length) terms.push({ embedding: anyDirection(index.dimensions) });
  return {
    terms,
    modality: query.modality,
    where: query.where.map(({ column, op, value }) => ({ column, op, value: valueOf(value, columns[column] ?? "", op) })),
    least_cos: query.least,
    deduplicate: query.once,
  };
}

/** Return always the same vector that points nowhere in particular: an order to leaf through the data set in. */
function anyDirection(dimensions) {
  let state = 7; // Park and Miller's minimal standard generator
  return Array.from({ length: dimensions }, () => (state = (state * 16807) % 2147483647) / 2147483647 - 0.5);
}

function termBody(kind, value, foreign) {
  if (kind === "address") return { [foreign.has(value) ? "image_url" : "url"]: value };
  return kind === "picture" ? { image: base64Of(value) } : { [kind]: value };
}

/** Return a value in the type of its column. */
function valueOf(text, type, op) {
  if (op !== "~" && isNumber(type) && text.trim() !== "" && Number.isFinite(Number(text))) return Number(text);
  return op !== "~" && type.startsWith("bool") ? /^(true|yes|1)$/i.test(text.trim()) : text;
}

/** Tell whether a column's type is one of numbers. */
export const isNumber = (type) => /^(u?int|float|double|half|decimal)/.test(type);
