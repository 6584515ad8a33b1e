// Ways to give a picture: choose a file, paste, drop a file, drop a picture from this or another page.

import { byId } from "./dom.js";

const OURS = /\/samples\/([0-9a-f]{32})\/picture$|\/s\/([0-9a-f]{32})$/;

/** Call `onFile(file)` for each picture given, `onAddress(url)` for a picture of another page, `onUid(uid)` for one of ours. */
export function listen({ onFile, onAddress, onUid }) {
  const input = byId("file");
  input.addEventListener("change", () => {
    if (input.files.length) onFile(input.files[0]);
    input.value = ""; // the same file may be chosen again
  });
  document.addEventListener("paste", (event) => {
    const file = pictureIn(event.clipboardData);
    if (!file) return;
    event.preventDefault();
    onFile(file);
  });
  dropping((data) => {
    const address = (data.getData("text/uri-list") || "").split(/\r?\n/).find((line) => line && !line.startsWith("#"));
    const own = address && new URL(address, location.href).origin === location.origin ? OURS.exec(new URL(address, location.href).pathname) : null;
    const file = pictureIn(data);
    if (own) onUid(own[1] ?? own[2]);
    else if (file) onFile(file);
    else if (address) onAddress(address);
  });
}

function pictureIn(data) {
  const files = [...(data?.files ?? [])];
  return files.find((file) => file.type.startsWith("image/")) ?? files[0];
}

function dropping(onDrop) {
  const veil = byId("drop");
  const welcome = (event) => [...event.dataTransfer.types].some((type) => type === "Files" || type === "text/uri-list");
  document.addEventListener("dragover", (event) => {
    if (!welcome(event)) return;
    event.preventDefault();
    veil.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) veil.hidden = true; // the pointer left the window
  });
  document.addEventListener("dragend", () => (veil.hidden = true));
  document.addEventListener("drop", (event) => {
    veil.hidden = true;
    if (!welcome(event)) return;
    event.preventDefault();
    onDrop(event.dataTransfer);
  });
}
