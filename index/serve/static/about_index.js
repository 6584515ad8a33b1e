// What the index of a data set is: its kind and why, what was asked of it, what was measured.

import { h } from "./dom.js";
import { bytes, count, share } from "./format.js";
import { facts, nameOf } from "./sample_facts.js";
import { table } from "./table.js";

const INSIDE = ["sides", "options", "format", "snapshot"];
const SIDES = { image: "Vectors of the pictures", text: "Vectors of the texts" };
const COLUMNS = [
  ["nprobe", "lists looked into", count],
  ["depth", "compared exactly", count],
  ["across_frac", "recall of the other modality", share],
  ["within_frac", "recall of the same", share],
  ["ms", "ms a query", (value) => value.toFixed(2)],
];

/** Return the facts of an index's record that are plain values, and what was asked of it. */
export function aboutIndex(record) {
  const plain = Object.entries(record).filter(([name, value]) => !INSIDE.includes(name) && typeof value !== "object");
  const { memory_bytes: memory, recall_frac: recall } = record.options ?? {};
  const asked = { "memory allowed": memory && bytes(memory), "recall asked for": recall && `${share(recall)} of the ten nearest` };
  return { ...Object.fromEntries(plain.map(([name, value]) => [nameOf(name), typeof value === "number" ? count(value) : value])), ...asked };
}

/** Show each side of an index, with the curve that was measured where it is not exact. */
export function sides(given) {
  return Object.entries(given).map(([name, side]) => {
    const vectors = (side.segments ?? []).reduce((total, one) => total + one.rows - (one.wiped ?? 0), 0);
    const found = side.curve?.find((one) => one.nprobe === side.nprobe && one.depth === side.depth) ?? side.curve?.at(-1);
    const exact = !side.nprobe;
    const lines = facts({
      kind: h("code", {}, side.factory), why: side.why, vectors: count(vectors), "memory expected": bytes(side.bytes ?? 0),
      recall: exact ? "exact: every vector is looked at" : found && `${share(found.across_frac)} of the ten nearest to the other modality, ${share(found.within_frac)} to the same`,
    });
    return [h("h3", {}, SIDES[name] ?? nameOf(name)), h("dl", { class: "facts" }, lines), side.curve?.length > 0 && curve(name, side.curve)];
  });
}

function curve(name, points) {
  const shown = COLUMNS.filter(([column]) => typeof points[0][column] === "number");
  const lines = points.map((point) => h("tr", {}, shown.map(([column, , write]) => h("td", { class: "n" }, write(point[column])))));
  return table(`Effort and recall: ${SIDES[name] ?? name}`, shown.map(([, words]) => [words, "n"]), lines);
}
