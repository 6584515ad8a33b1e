// Speak with the server's JSON API; every failure becomes an ApiError whose message can be shown as it is.

const BASE = "/api/v1";
const BY_STATUS = {
  413: "That is too large for this server.",
  429: "That was a little too fast. Please wait a moment and try again.",
  503: "The server has too much to do just now. Please try again in a moment.",
};

/** What went wrong, in words for people; `status` is 0 when the server did not answer at all. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Return the path of something in a data set; every part is escaped. */
export const path = (dataset, ...parts) => ["/datasets", dataset, ...parts].map((part, i) => (i ? encodeURIComponent(part) : part)).join("/");

/** Return the address of a sample's picture. */
export const pictureOf = (dataset, uid) => BASE + path(dataset, "samples", uid, "picture");

/** Ask for a value. */
export const get = (where, options = {}) => send("GET", where, options);

/** Send a value as JSON; `headers` may carry more, such as a CSRF token. */
export const post = (where, body = {}, options = {}) => send("POST", where, { ...options, body });

async function send(method, where, { body, headers = {}, signal } = {}) {
  const asked = { method, signal, headers: { Accept: "application/json", ...headers }, credentials: "same-origin" };
  if (body !== undefined) {
    asked.body = JSON.stringify(body);
    asked.headers["Content-Type"] = "application/json";
  }
  let answer;
  try {
    answer = await fetch(BASE + where, asked);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server did not answer. Is it running, and are you connected?");
  }
  const value = await answer.json().catch(() => null);
  if (answer.ok && value !== null) return value;
  throw new ApiError(answer.status, sentence(answer.status, value));
}

function sentence(status, value) {
  const told = typeof value?.error === "string" ? value.error.trim() : "";
  if (told && !(status in BY_STATUS)) return told.charAt(0).toUpperCase() + told.slice(1) + (/[.!?]$/.test(told) ? "" : ".");
  return BY_STATUS[status] ?? `The server answered with status ${status} and no explanation.`;
}
