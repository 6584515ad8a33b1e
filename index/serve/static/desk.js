// The data protection officer's desk: sign in, choose a data set, and either the queue or one request (the part after #).

import { ApiError, get, post } from "./api.js";
import { announce, byId, h, show } from "./dom.js";
import { queue } from "./desk_queue.js";
import { requestPage } from "./desk_request.js";

let csrf = "";
let turn = 0;

/** Speak with the desk's API about the chosen data set; a session that has ended leads back to the sign-in. */
export const api = {
  get: (where) => guarded(() => get(`/desk/${encodeURIComponent(api.dataset)}/${where}`)),
  post: (where, body = {}) => guarded(() => post(`/desk/${encodeURIComponent(api.dataset)}/${where}`, body, { headers: { "X-CSRF-Token": csrf } })),
  address: (where) => `/api/v1/desk/${encodeURIComponent(api.dataset)}/${where}`,
  get dataset() { return byId("set").value; },
};

async function guarded(call) {
  try {
    return await call();
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) signInAgain("You were signed out. Sign in again to go on.");
    throw error;
  }
}

function signInAgain(sentence) {
  turn += 1;
  csrf = "";
  byId("desk").hidden = byId("signed-in").hidden = true;
  show(byId("desk"));
  byId("sign-in").hidden = false;
  say(sentence);
  byId("token").focus();
}

/** Say what went wrong, or nothing. */
export function say(sentence) {
  show(byId("trouble"), sentence ? h("p", { class: "warn" }, sentence) : null);
}

function begin(session) {
  csrf = session.csrf;
  const wanted = decodeURIComponent(location.hash.slice(1)).split("/")[0];
  show(byId("set"), session.datasets.map((name) => h("option", { value: name, selected: name === wanted }, name)));
  byId("sign-in").hidden = true;
  byId("desk").hidden = byId("signed-in").hidden = false;
  byId("token").value = "";
  say();
  go();
}

/** Show what the address says; called again for what has changed meanwhile. */
export async function go() {
  const mine = ++turn;
  const [name, id] = decodeURIComponent(location.hash.slice(1)).split("/");
  if ([...byId("set").options].some((option) => option.value === name)) byId("set").value = name;
  const still = () => mine === turn;
  try {
    await (id?.startsWith("r-") || id?.startsWith("i-") ? requestPage(byId("desk"), api, id, still) : queue(byId("desk"), api, still));
    if (still()) say();
  } catch (error) {
    if (still() && error.status !== 401) say(error.message);
  }
}

byId("sign-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.target.querySelector("button");
  button.disabled = true;
  try {
    begin(await post("/desk/session", { token: byId("token").value }));
    announce("You are signed in.");
    byId("main").focus();
  } catch (error) {
    say(error.message);
    byId("token").select();
  } finally {
    button.disabled = false;
  }
});
byId("sign-out").addEventListener("click", async () => {
  await post("/desk/session/end", {}, { headers: { "X-CSRF-Token": csrf } }).catch(() => null);
  history.replaceState(null, "", location.pathname);
  signInAgain("You are signed out.");
});
byId("set").addEventListener("change", () => { location.hash = encodeURIComponent(byId("set").value); });
addEventListener("hashchange", () => csrf && go());

get("/desk/session").then((known) => {
  if (known.csrf) return begin(known);
  byId("sign-in").hidden = false;
  return byId("token").focus();
}, (error) => say(error.message));
