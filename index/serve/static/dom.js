// Build elements. Whatever strangers wrote becomes a text node or an attribute here, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Make an HTML element; an attribute whose value is a function listens to the event of that name. */
export const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/** Make an SVG element. */
export const svg = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Return the element of an id; a page without it is our own mistake. */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element;
}

/** Put children in the place of all there are. */
export const show = (element, ...children) => fill(element, {}, (element.replaceChildren(), children));

/** Tell those who listen to the page what has happened; the frame holds the live region. */
export function announce(sentence) {
  byId("status").textContent = sentence;
}

/** Link to a stranger's address if it is one of the web; else the plain text. */
export function weblink(url, words = url) {
  if (!isWebAddress(url)) return h("span", { class: "wrap", dir: "auto" }, words ?? "");
  return h("a", { href: url, rel: "noreferrer noopener nofollow", class: "wrap", dir: "auto" }, words);
}

/** Tell whether a text is an http or https address. */
export function isWebAddress(text) {
  if (typeof text !== "string" || !/^https?:\/\//i.test(text)) return false;
  return URL.canParse(text);
}

/** Show a picture of ours in a square pane; one that is not there any more says so. */
export function pane(source, caption, size = {}) {
  const image = h("img", { src: source, alt: caption, loading: "lazy", decoding: "async", ...size });
  const box = h("div", { class: "pane" }, image);
  image.addEventListener("error", () => show(box, h("span", { class: "gone-picture" }, "no longer here")), { once: true });
  return box;
}
