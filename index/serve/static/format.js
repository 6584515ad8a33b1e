// Write numbers, sizes and days the same way everywhere.

const COUNT = new Intl.NumberFormat("en");

/** Write a whole number with its thousands apart. */
export const count = (n) => COUNT.format(n);

/** Write a number of things: "1 picture", "2,000 pictures". */
export const things = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

/** Write a cosine. */
export const cosine = (value) => (Number.isFinite(value) ? value.toFixed(3).replace("-", "−") : "–");

/** Write a share in percent, never rounding something to nothing or nearly all to all. */
export function share(part, whole = 1) {
  const percent = whole ? (100 * part) / whole : 0;
  if (percent > 0 && percent < 0.1) return "< 0.1 %";
  if (percent > 99.9 && percent < 100) return "> 99.9 %";
  return `${percent.toFixed(1)} %`;
}

/** Write a number of bytes in decimal units. */
export function bytes(n) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  let at = 0;
  for (; n >= 1000 && at < units.length - 1; at += 1) n /= 1000;
  return at ? `${n.toFixed(1)} ${units[at]}` : `${n} bytes`;
}

/** Write the day of an ISO time, and the minute where wanted; times are UTC. */
export const day = (utc) => String(utc ?? "").slice(0, 10);
export const minute = (utc) => `${String(utc ?? "").slice(0, 16).replace("T", " ")} UTC`;

/** Cut a text to so many characters; whole code points, so that no emoji is halved. */
export function shorten(text, most) {
  const points = Array.from(text ?? "");
  return points.length > most ? `${points.slice(0, most).join("")}…` : points.join("");
}
