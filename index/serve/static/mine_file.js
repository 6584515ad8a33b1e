// File a request: to be left out, or to be answered by a person; then the receipt and the link that follows it.

import { announce, byId, h, show } from "./dom.js";
import { path, post } from "./api.js";
import { day } from "./format.js";

const GROUNDS = [
  ["train", "I do not want it used to train models"],
  ["gdpr17", "It shows or names me, and I want it erased"],
  ["gdpr21", "It shows or names me, and I object"],
  ["copyright", "It is my work, and I did not agree"],
  ["tdm", "Its use for text and data mining is reserved"],
];

/** Show the form for what was asked. */
export function filing(section, dataset, named, told) {
  const given = Object.keys(named)[0];
  const host = given === "url" ? siteOf(named.url) : null;
  section.hidden = false;
  const form = h(
    "form",
    { class: "card file-form", submit: (event) => { event.preventDefault(); send(section, form, dataset, named, host); } },
    h("h2", {}, told.found === "no" ? "Say no for the future, too" : "Ask to be left out"),
    h("p", { class: "soft" }, told.found === "no" ? "A request also holds for later crawls: what it names is not taken in again." : "What it covers is hidden, erased in every file, and not taken in again by later crawls."),
    h("fieldset", { class: "choices" }, h("legend", {}, "What do you want?"),
      choice("wants", "removal", "Leave it out", true),
      choice("wants", "answer", "Only a written answer by a person whether it is in here")),
    covers(given, named, host),
    h("div", { class: "field" }, h("label", { for: "ground" }, "Why"), h("select", { id: "ground" }, GROUNDS.map(([value, words]) => h("option", { value }, words)))),
    h("div", { class: "field" }, h("label", { for: "contact" }, "How we reach you (optional)"), h("input", { id: "contact", type: "text", maxlength: 320, autocomplete: "email", "aria-describedby": "contact-note" }),
      h("p", { class: "note", id: "contact-note" }, "Kept under a key of its own, which is destroyed when the request is closed.")),
    h("div", { class: "field" }, h("label", { for: "reason" }, "Anything else we should know (optional)"), h("textarea", { id: "reason", rows: 3, maxlength: 2000 })),
    given === "image" && h("p", {}, h("label", { class: "check" }, h("input", { id: "show-picture", type: "checkbox" }), " Let the officer see a small copy of my picture, to compare. It is sealed, and destroyed with the request.")),
    h("div", { class: "row" }, h("button", { class: "main", type: "submit" }, "File the request"), h("span", { class: "soft busy", id: "sending", hidden: true }, "Filing …")),
    h("div", { id: "file-trouble", role: "alert" }),
  );
  show(section, form);
}

function choice(name, value, words, checked = false) {
  return h("label", {}, h("input", { type: "radio", name, value, checked }), ` ${words}`);
}

function covers(given, named, host) {
  if (given === "url" && host)
    return h("fieldset", { class: "choices" }, h("legend", {}, "What does it cover?"),
      choice("covers", "url", "The picture or page at this address, and copies of the picture", true),
      choice("covers", "domain", `Everything on ${host}`));
  const words = {
    image: "This picture, however it was resized or encoded, wherever it was found, and copies of it",
    domain: `Everything on ${named.domain} and its subdomains`,
    text: `Every picture whose text has “${named.text}” in it`,
    uid: "This sample and copies of its picture",
    url: "The picture or page at this address, and copies of the picture",
  }[given];
  return h("p", {}, h("span", { class: "label" }, "It covers: "), words);
}

function siteOf(address) {
  try {
    return new URL(address.includes("://") ? address : `https://${address}`).hostname.replace(/^www\./, "");
  } catch {
    return null;
  }
}

/** Return what tells the server that a second try of this form is no second request: random, the same as long as the form stands. */
function tryKey(form) {
  form.dataset.tryKey ??= Array.from(crypto.getRandomValues(new Uint8Array(20)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return form.dataset.tryKey;
}

async function send(section, form, dataset, named, host) {
  const chosen = (name) => form.querySelector(`input[name="${name}"]:checked`)?.value;
  const what = chosen("covers") === "domain" ? { domain: host } : named;
  const body = { ...what, wants: chosen("wants"), category: byId("ground").value, contact: byId("contact").value, reason: byId("reason").value };
  if (document.getElementById("show-picture")?.checked) body.show_picture = true;
  const button = form.querySelector("button.main");
  show(byId("file-trouble"));
  button.disabled = true;
  byId("sending").hidden = false;
  try {
    done(section, await post(path(dataset, "requests"), body, { headers: { "Idempotency-Key": tryKey(form) } }));
  } catch (error) {
    show(byId("file-trouble"), h("p", { class: "warn" }, error.message));
    button.disabled = false;
    byId("sending").hidden = true;
  }
}

function done(section, made) {
  const link = new URL(made.link, location.href).href;
  const receipt = URL.createObjectURL(new Blob([JSON.stringify(made.receipt, null, 1)], { type: "application/json" }));
  const copied = h("span", { class: "soft", role: "status" });
  const box = h("input", { id: "link", type: "text", readonly: true, value: link, focus: (event) => event.target.select() });
  const copy = async () => {
    await navigator.clipboard.writeText(link).then(() => (copied.textContent = "Copied."), () => (box.select(), (copied.textContent = "Copy it from the field.")));
  };
  show(
    section,
    h("div", { class: "card done" },
      h("h2", { id: "filed", tabindex: "-1" }, "Your request is taken in"),
      h("p", { class: "lead" }, "It is answered until ", h("strong", {}, day(made.due_utc)), "."),
      h("div", { class: "field" }, h("label", { for: "link" }, "Keep this link"), h("div", { class: "row keep" }, box, h("button", { type: "button", click: copy }, "Copy"), copied),
        h("p", { class: "note" }, "It is the only way to follow the request. Nobody can look it up for you, and whoever has it can see how far the request is.")),
      h("div", { class: "row" }, h("a", { class: "button main", href: made.link }, "Follow the request"), h("a", { class: "button", id: "receipt", href: receipt, download: `receipt-${made.id}.json` }, "Download the receipt")),
      h("details", {}, h("summary", {}, "What is the receipt good for?"),
        h("p", {}, "It proves that you asked, for what, and when: it holds our signature over a log that nobody can rewrite unseen. Anybody checks it, without us:"),
        h("pre", {}, h("code", {}, `tamis optout check-receipt receipt-${made.id}.json`)))),
  );
  announce("Your request is taken in.");
  byId("filed").focus();
}
