// "Is this mine?": ask with a picture, an address, a site or a name; the answer, and a request to be left out.

import { announce, byId, h, show } from "./dom.js";
import { path, post } from "./api.js";
import { answerOf } from "./mine_answer.js";
import { filing } from "./mine_file.js";
import { listen } from "./picture_input.js";

const DATASET = document.body.dataset.dataset;
const MOST_BYTES = 7_500_000;
const SMALLER_PX = 2048;
const WORDS = {
  url: ["Address of the picture, or of the page it is on", "As your browser shows it; http or https, with or without www., is the same here."],
  domain: ["Your site", "For example painter.example; its subdomains count too."],
  text: ["A name or phrase", "As it may stand in the text beside a picture."],
};
let picture = null; // { base64, address } of the file that was given
let asked = 0;

function kind() {
  return document.querySelector('input[name="kind"]:checked').value;
}

function choose(name) {
  document.querySelector(`input[name="kind"][value="${name}"]`).checked = true;
  byId("give-image").hidden = name !== "image";
  byId("give-words").hidden = name === "image";
  if (name in WORDS) [byId("words-label").textContent, byId("words-note").textContent] = WORDS[name];
}

async function take(file) {
  choose("image");
  say();
  try {
    const small = file.size > MOST_BYTES ? await smaller(file) : file;
    if (picture) URL.revokeObjectURL(picture.address);
    picture = { base64: await base64(small), address: URL.createObjectURL(small) };
  } catch {
    say("That file is not a picture this browser can read.");
    return;
  }
  const preview = byId("preview");
  preview.src = picture.address;
  preview.hidden = false;
  byId("zone-words").textContent = file.size > MOST_BYTES ? `${file.name}, made smaller for the way` : file.name || "The picture you pasted";
  announce("The picture is ready. Look for it now.");
  byId("look").focus();
}

async function smaller(file) {
  const bitmap = await createImageBitmap(file);
  const scale = Math.min(1, SMALLER_PX / Math.max(bitmap.width, bitmap.height));
  const canvas = Object.assign(document.createElement("canvas"), { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92));
}

function base64(file) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = failed;
    reader.readAsDataURL(file);
  });
}

function say(sentence) {
  show(byId("trouble"), sentence ? h("p", { class: "warn" }, sentence) : null);
}

async function ask(named) {
  const turn = ++asked;
  say();
  byId("result").hidden = byId("file-part").hidden = true;
  byId("looking").hidden = false;
  byId("look").disabled = true;
  try {
    const told = await post(path(DATASET, "mine"), named);
    if (turn !== asked) return;
    const verdict = answerOf(byId("result"), DATASET, told, picture && "image" in named ? picture.address : null);
    filing(byId("file-part"), DATASET, named, told);
    announce(verdict);
    byId("verdict").focus();
  } catch (error) {
    if (turn === asked) say(error.message);
  } finally {
    byId("looking").hidden = true;
    byId("look").disabled = false;
  }
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = byId("words").value.trim();
  if (kind() === "image" && !picture) say("Choose a picture first.");
  else if (kind() !== "image" && !words) say("Write what is to be looked for first.");
  else ask(kind() === "image" ? { image: picture.base64 } : { [kind()]: words });
});
for (const radio of document.querySelectorAll('input[name="kind"]')) radio.addEventListener("change", () => choose(radio.value));
listen({
  onFile: take,
  onAddress: (address) => { choose("url"); byId("words").value = address; },
  onUid: (uid) => ask({ uid }),
});

if (byId("file").files.length) take(byId("file").files[0]); // chosen before this script was here

const given = new URLSearchParams(location.search);
choose(kind());
for (const name of ["url", "domain", "text", "uid"]) {
  const value = given.get(name);
  if (!value) continue;
  if (name in WORDS) { choose(name); byId("words").value = value; }
  ask({ [name]: value });
  break;
}
