// One request: what was asked beside what it means, and what an officer can do with it now.

import { announce, h, pane, show, weblink } from "./dom.js";
import { day, minute, shorten, things } from "./format.js";
import { howFound } from "./mine_words.js";
import { GROUNDS, KINDS, REFUSALS, STATES, dueIn, stateOf } from "./desk_words.js";

let shown = null; // a picture that the officer opened beside a request; it stays in this browser

/** Draw a request into `desk`. */
export async function requestPage(desk, api, id, still) {
  const told = await api.get(`requests/${encodeURIComponent(id)}`);
  if (still()) draw(desk, api, told, still);
}

function draw(desk, api, told, still) {
  const trouble = h("div", { role: "alert" });
  const act = async (what, body, sentence) => {
    show(trouble);
    for (const button of desk.querySelectorAll("button")) button.disabled = true;
    try {
      const now = await api.post(`requests/${encodeURIComponent(told.id)}/${what}`, body);
      if (!still()) return false;
      draw(desk, api, now, still);
      announce(sentence);
      desk.querySelector("h1").focus();
      return true;
    } catch (error) {
      for (const button of desk.querySelectorAll("button")) button.disabled = false;
      show(trouble, h("p", { class: "warn" }, error.message));
      return false;
    }
  };
  show(
    desk,
    h("p", { class: "eyebrow" }, h("a", { href: `#${encodeURIComponent(api.dataset)}` }, "← Queue")),
    h("h1", { tabindex: "-1" }, title(told), " ", h("span", { class: told.overdue ? "badge no" : "badge" }, stateOf(told))),
    trouble,
    h("div", { class: "two" }, asked(told), meant(told, act)),
    actions(told, act),
    papers(told, api),
  );
}

function title(told) {
  if (told.asks) return `Is ${KINDS[told.kind] ?? told.kind} in the data set?`;
  return `Leave out ${KINDS[told.kind] ?? told.kind}`;
}

function asked(told) {
  const line = (name, ...value) => [h("dt", {}, name), h("dd", { dir: "auto" }, ...value)];
  const known = told.told;
  return h("section", { class: "asked", "aria-labelledby": "asked" },
    h("h2", { id: "asked" }, "What was asked"),
    told.kind === "picture" ? theirs(told) : null,
    h("dl", { class: "facts" },
      known ? value(known.value, line) : line("What", "forgotten: the key is destroyed"),
      known?.contact && line("Contact", known.contact),
      known?.note && line("They write", h("span", { class: "wrote" }, known.note)),
      line("Ground", GROUNDS[told.category] ?? told.category),
      line("Covers copies", told.copies ? "yes" : "no"),
      line("From", told.source === "web" ? "the web page: nobody has checked who it is" : told.source),
      line("Received", minute(told.received_utc)),
      told.days_left !== null && line("Due", day(told.due_utc), ", ", dueIn(told), told.extended ? ", extended" : "")));
}

function value(what, line) {
  if (typeof what === "string") return line("What", /^https?:/i.test(what) ? weblink(what) : h("strong", { class: "wrap" }, what));
  const hashes = Object.entries(what).map(([name, hash]) => h("p", { class: "note" }, name === "pdq_quality" ? "PDQ quality" : name.toUpperCase(), h("br"), h("code", { class: "wrap" }, hash)));
  return line("What", h("details", {}, h("summary", {}, "Fingerprints of the picture"), hashes));
}

function theirs(told) {
  const kept = told.told?.picture ?? (shown?.id === told.id ? shown.address : null);
  const box = h("div", { class: "pane own" }, kept ? h("img", { src: kept, alt: "The picture that was sent" }) : h("span", { class: "gone-picture" }, "Only its fingerprints are kept."));
  const input = h("input", { type: "file", accept: "image/*", "aria-label": "Show their picture from a file here", change: () => {
    if (!input.files.length) return;
    if (shown) URL.revokeObjectURL(shown.address);
    shown = { id: told.id, address: URL.createObjectURL(input.files[0]) };
    show(box, h("img", { src: shown.address, alt: "The picture from your file" }));
  } });
  return h("figure", { class: "theirs" }, box, h("figcaption", {}, told.told?.picture ? "The copy they let you see" : [h("span", { class: "file" }, input, h("span", { class: "button", "aria-hidden": "true" }, "Show it from a file")), h("span", { class: "note" }, " It stays in this browser.")]));
}

function meant(told, act) {
  const sure = told.counts.rows;
  return h("section", { class: "meant", "aria-labelledby": "meant" },
    h("h2", { id: "meant" }, "What it means here"),
    told.too_many_to_list
      ? h("p", { class: "warn" }, "More than 10,000 rows. They are looked up when you accept the request.")
      : h("p", {}, sure ? `${things(sure, "row")} ${told.waits ? (told.asks ? "would be named in the answer" : "would be hidden") : sure === 1 ? "is meant" : "are meant"}.` : "No row is plainly meant.", told.counts.rejected ? ` ${things(told.counts.rejected, "look-alike")} rejected.` : ""),
    told.rows.length ? h("ol", { class: "gallery", "aria-label": "Rows that are meant" }, told.rows.map((row) => card(row))) : null,
    told.next_offset && h("p", { class: "note" }, `The first ${told.next_offset} are shown.`),
    told.look_alikes.length ? compare(told, act) : null);
}

function card(row, decide = null) {
  const words = shorten(row.text ?? "", 120) || "no text";
  return h("li", { "data-uid": row.uid },
    row.picture ? pane(row.picture, words) : h("div", { class: "pane" }, h("span", { class: "gone-picture" }, "no picture was fetched")),
    h("p", {}, h("span", { class: row.how === "neighbour" ? "badge todo" : "badge yes" }, howFound(row.how, row.score)), row.hidden ? h("span", { class: "badge" }, "hidden") : null),
    row.text ? h("p", { dir: "auto" }, shorten(row.text, 160)) : null,
    row.url ? h("p", { class: "address" }, weblink(row.url, shorten(row.url, 80))) : null,
    decide);
}

function compare(told, act) {
  const can = told.can.some((what) => ["accept", "answer", "settle"].includes(what));
  const choice = (row) => h("fieldset", { class: "decide" }, h("legend", { class: "unseen" }, `Does ${shorten(row.text ?? "", 60) || row.uid} show it?`),
    [["yes", "It is theirs"], ["no", "It is not"]].map(([value, words]) => h("label", {}, h("input", { type: "radio", name: `d-${row.uid}`, value }), ` ${words}`)));
  const list = h("ol", { class: "gallery", "aria-label": "Look-alikes" }, told.look_alikes.map((row) => card(row, can ? choice(row) : null)));
  const all = (value) => () => { for (const radio of list.querySelectorAll(`input[value="${value}"]`)) radio.checked = true; };
  const decided = (value) => [...list.querySelectorAll(`input[value="${value}"]:checked`)].map((radio) => radio.name.slice(2));
  const save = async () => {
    const [yes, no] = [decided("yes"), decided("no")];
    if (told.can.includes("answer")) return act("answer", { confirm: yes, reject: no }, "The question is answered.");
    if (yes.length && !(await act("confirm", { uids: yes }, `${things(yes.length, "look-alike")} confirmed and hidden.`))) return false;
    return no.length ? act("reject", { uids: no }, `${things(no.length, "look-alike")} rejected.`) : null;
  };
  return h("div", { class: "compare" }, h("h3", {}, `${things(told.look_alikes.length, "look-alike")} to compare`),
    h("p", { class: "soft" }, "Nothing of these is hidden unless you say that it is theirs."),
    list,
    can && h("div", { class: "row" }, h("button", { type: "button", class: "main", id: "decide", click: save }, told.can.includes("answer") ? "Answer with these decisions" : "Save the decisions"), h("button", { type: "button", click: all("yes") }, "All are"), h("button", { type: "button", click: all("no") }, "None is")));
}

function actions(told, act) {
  const doing = [];
  if (told.can.includes("accept")) doing.push(h("button", { type: "button", class: "main", id: "accept", click: () => act("accept", {}, "Accepted. What is plainly meant is hidden.") }, told.counts.rows ? `Accept: hide ${things(told.counts.rows, "row")}` : "Accept: keep it out of later crawls"));
  if (told.can.includes("answer") && !told.look_alikes.length) doing.push(h("button", { type: "button", class: "main", id: "answer", click: () => act("answer", {}, "The question is answered.") }, told.counts.rows ? "Answer: yes, it is in here" : "Answer: no, it is not"));
  if (told.can.includes("extend")) doing.push(h("button", { type: "button", click: () => act("extend", {}, "The deadline is two months later. Tell the person today, with the reason.") }, "Extend by two months"));
  if (told.can.includes("withdraw")) doing.push(h("button", { type: "button", id: "withdraw", click: () => confirm("Take the request back for the person? What is only hidden comes back.") && act("withdraw", {}, "Withdrawn.") }, "Withdraw for the person"));
  const refusal = told.can.includes("refuse") ? refuse(act) : null;
  return doing.length || refusal ? h("section", { class: "part actions" }, h("h2", {}, "Decide"), h("div", { class: "row" }, doing), refusal) : null;
}

function refuse(act) {
  const why = h("select", { id: "why" }, Object.entries(REFUSALS).map(([value, words]) => h("option", { value }, words)));
  return h("details", {}, h("summary", {}, "Refuse it …"), h("div", { class: "field" }, h("label", { for: "why" }, "Why"), why, h("p", { class: "note" }, "The person sees the reason, and that they can complain (GDPR art. 12(4)). It cannot be taken back.")),
    h("button", { type: "button", class: "grave", id: "refuse", click: () => act("refuse", { reason: why.value }, "Refused. Tell the person why, and where to complain.") }, "Refuse"));
}

function papers(told, api) {
  const paper = (what, words) => h("a", { class: "button", href: api.address(`requests/${told.id}/${what}`), download: "" }, words);
  return h("section", { class: "part" }, h("h2", {}, "History and papers"),
    h("ol", { class: "history" }, told.history.map((one) => h("li", {}, `${minute(one.utc)}: ${STATES[one.state] ?? one.state}`, h("span", { class: "soft" }, `, log entry ${one.leaf}`)))),
    told.reason && h("p", {}, `Refused: ${REFUSALS[told.reason] ?? told.reason}.`),
    h("p", { class: "soft" }, h("code", {}, told.id)),
    h("div", { class: "row" }, paper("receipt", "Receipt"), told.has_report && paper("report", "Report of the erasure")));
}
