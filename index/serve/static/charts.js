// Drawings as SVG elements, made for the width they are shown at, so that letters keep their size on a phone.

import { h, show, svg } from "./dom.js";
import { count } from "./format.js";

const PLOT = { left: 46, right: 12, top: 22, bottom: 42, height: 308 };

/** Draw a bar of the report: what is left, and in pale what a step let go; parts of the whole, 0 to 1. */
export function bar(part, gone = 0, kind = "") {
  const width = (share) => (1000 * share).toFixed(1);
  return svg(
    "svg",
    { class: `bar ${kind}`, viewBox: "0 0 1000 10", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("rect", { class: "track", width: 1000, height: 10 }),
    gone > 0 && svg("rect", { class: "gone", width: width(part + gone), height: 10 }),
    svg("rect", { class: "fill", width: part ? Math.max(2, width(part)) : 0, height: 10 }),
  );
}

/** Return a figure that is drawn anew whenever its width changes. */
export function figure(words, draw) {
  const place = h("figure", { class: "drawing" });
  let drawn = 0;
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width < 50 || width === drawn) return;
    drawn = width;
    show(place, svg("svg", { viewBox: `0 0 ${width} ${PLOT.height}`, width, height: PLOT.height, role: "img", "aria-label": words }, draw(width)));
  }).observe(place);
  return place;
}

/** Draw a histogram of stacked series with a marked value; `edges` has one number more than each series. */
export function histogram({ edges, series, mark, words, axis }) {
  return figure(words, (width) => {
    const { starts, step } = bins(edges, series, mark, width);
    const rows = series.map(({ counts }) => starts.map((at) => sum(counts.slice(Math.max(0, at), Math.max(0, at + step)))));
    const totals = starts.map((_, i) => sum(rows.map((row) => row[i])));
    const [low, unit] = [edges[0], edges[1] - edges[0]];
    const first = low + unit * starts[0];
    const x = scale(first, first + unit * step * starts.length, PLOT.left, width - PLOT.right);
    const y = scale(0, Math.max(1, ...totals) * 1.08, PLOT.height - PLOT.bottom, PLOT.top);
    const bars = starts.map((_, i) => stack(rows.map((row) => row[i]), series, x(first + unit * step * i) + 0.5, x(first + unit * step * (i + 1)) - 0.5, y));
    const line = x(mark);
    const right = line > width * 0.7;
    return [
      ticks(0, Math.max(1, ...totals), 4, true).map((value) => [grid(PLOT.left, width - PLOT.right, y(value)), label(PLOT.left - 7, y(value) + 4, count(value), "end")]),
      bars,
      svg("rect", { class: "mark", x: line - 0.75, y: PLOT.top - 12, width: 1.5, height: PLOT.height - PLOT.bottom - PLOT.top + 12 }),
      label(line + (right ? -6 : 6), PLOT.top - 2, `threshold ${mark}`, right ? "end" : "start", "strong"),
      ticks(first, first + unit * step * starts.length, width / 110).map((value) => label(x(value), PLOT.height - 24, String(value).replace("-", "−"), "middle")),
      label((PLOT.left + width - PLOT.right) / 2, PLOT.height - 5, axis, "middle"),
    ];
  });
}

/** Return the first bins of the bars, such that one begins at the mark; few pairs make broad bars. */
function bins(edges, series, mark, width) {
  const bars = Math.min(Math.max(2 * Math.sqrt(sum(series.map(({ counts }) => sum(counts)))), 20), 80, width / 7);
  const n = edges.length - 1;
  const step = Math.max(1, Math.round(n / bars));
  const at = Math.round((mark - edges[0]) / (edges[1] - edges[0]));
  const starts = [];
  for (let bin = Math.min(at - Math.ceil(at / step) * step, at - step); bin < Math.max(n, at + step); bin += step) starts.push(bin);
  return { starts, step };
}

function stack(values, series, left, right, y) {
  let base = 0;
  return values.map((value, i) => {
    const foot = y(base);
    base += value;
    return value > 0 && svg("rect", { class: series[i].kind, x: left, y: y(base), width: Math.max(0.5, right - left), height: foot - y(base) });
  });
}

/** Draw widths against heights on log axes; a cell is [width, height, looked at, kept]. */
export function sizes({ cells, words }) {
  const sides = cells.flatMap(([x, y]) => [x, y]);
  const [low, high] = [Math.log2(Math.min(...sides)) - 0.4, Math.log2(Math.max(...sides)) + 0.6];
  const most = Math.max(...cells.map(([, , looked]) => looked));
  return figure(words, (width) => {
    const x = scale(low, high, PLOT.left, Math.min(width - PLOT.right, 560));
    const y = scale(low, high, PLOT.height - PLOT.bottom, PLOT.top);
    const octaves = Array.from({ length: 20 }, (_, i) => i).filter((i) => i >= low && i <= high);
    const shown = octaves.filter((i) => width > 480 || i % 2 === octaves[0] % 2);
    const dots = [...cells].sort((a, b) => b[2] - a[2]).map(([w, t, looked, kept]) =>
      svg("circle", { class: kept * 2 >= looked ? "kept" : "lost", cx: x(Math.log2(w) + 0.1), cy: y(Math.log2(t) + 0.1), r: 2.5 + 14 * Math.sqrt(looked / most), opacity: 0.75 },
        svg("title", {}, `about ${Math.round(w)} × ${Math.round(t)} pixels: ${count(looked)} looked at, ${count(kept)} kept`)));
    return [
      octaves.map((i) => [grid(x(low), x(high), y(i)), label(PLOT.left - 7, y(i) + 4, count(2 ** i), "end")]),
      shown.map((i) => label(x(i), PLOT.height - 24, count(2 ** i), "middle")),
      dots,
      label((x(low) + x(high)) / 2, PLOT.height - 5, "width in pixels; height upwards", "middle"),
    ];
  });
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const scale = (from, to, start, end) => (value) => start + ((value - from) / (to - from)) * (end - start);
const grid = (left, right, y) => svg("rect", { class: "grid", x: left, y, width: right - left, height: 0.8 });
const label = (x, y, words, anchor, kind = "") => svg("text", { class: `tick ${kind}`, x, y, "text-anchor": anchor }, words);

/** Return round values within a range, about so many. */
function ticks(low, high, wanted, whole = false) {
  const rough = (high - low) / Math.max(1, wanted);
  const power = 10 ** Math.floor(Math.log10(rough));
  const fit = [1, 2, 2.5, 5, 10].map((by) => by * power).find((step) => step >= rough && !(whole && step % 1));
  const step = fit ?? Math.max(1, Math.ceil(rough));
  const values = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) values.push(Number(value.toFixed(6)));
  return values;
}
