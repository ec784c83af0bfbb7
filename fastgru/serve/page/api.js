// Requests to the server, with the API key where there is one.

const STORED = "fastgru-key";
let key = sessionStorage.getItem(STORED) ?? "";

export const hasKey = () => key !== "";
const bytes = () => Array.from(new TextEncoder().encode(key));

/** Use this key from now on; "" for none. */
export function setKey(text) {
  key = text;
  if (key) sessionStorage.setItem(STORED, key);
  else sessionStorage.removeItem(STORED);
}

/** What the server refuses: its status, its fixed word, and its sentence as the message. */
export class Refusal extends Error {
  constructor(status, text) {
    let told = {};
    try {
      told = JSON.parse(text);
    } catch { /* a proxy between here and the server */ }
    super(told.error ?? `The answer has status ${status} and no sentence of the server.`);
    Object.assign(this, { status, reason: told.reason ?? "" });
  }
}

/** The text of an answer. Throws a Refusal, or what fetch throws where there is no answer. */
export async function ask(path, options = {}) {
  const headers = key ? { Authorization: `Bearer ${String.fromCharCode(...bytes())}` } : {};
  const reply = await fetch(path, { cache: "no-store", ...options, headers: { ...headers, ...options.headers } });
  const text = await reply.text();
  if (!reply.ok) throw new Refusal(reply.status, text);
  return text;
}

/** The overview. Ids are texts as they stand in a URL: a number may be beyond what JavaScript counts to. */
export async function overview(seconds) {
  const text = await ask("v2/overview", { signal: AbortSignal.timeout(seconds * 1000) });
  return JSON.parse(text, (name, value, context) => {
    if (name !== "id") return value;
    if (typeof value === "number") return context?.source ?? String(value);
    return /^\d+$/.test(value) ? `"${value}"` : value;
  });
}

/** A stream of the model. Browsers set no headers of a WebSocket: the key goes as a subprotocol. */
export function openStream(model) {
  const url = new URL(`v2/models/${encodeURIComponent(model)}/stream`, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  const hex = bytes().map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const socket = new WebSocket(url, key ? ["fastgru", `fastgru.key.${hex}`] : []);
  socket.binaryType = "arraybuffer";
  return socket;
}
