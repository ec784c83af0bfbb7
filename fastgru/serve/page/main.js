// The page: it asks for the overview once a second, and hands it to the parts.

import { hasKey, overview, Refusal, setKey } from "./api.js";
import { $, el, say } from "./dom.js";
import { chooseForRequest, setUpRequest } from "./request.js";
import { setHealth, showHealth, showModel, showModels, showRefusals, showTiles, showWho } from "./show.js";
import { chooseForStream, setUpStream } from "./stream.js";

const EVERY_MS = 1_000;
const WAIT_S = 5;
const KEPT_MS = 60_000; // of overviews
const RATE_MS = 5_000; // over which rates are taken
let kept = []; // [when, overview], the oldest first
let chosen = ""; // what is said of the model in the forms
let paused = false;
let timer = 0;
let looks = 0;

/** The oldest overview that is not older than this, and the seconds since then. */
function since(ms) {
  const [newest] = kept.at(-1);
  const [when, found] = kept.find(([at]) => at >= newest - ms - EVERY_MS / 2);
  return [found, (newest - when) / 1000];
}

function choose(now) {
  const ready = now.models.filter(({ state }) => state === "READY");
  const names = ready.map(({ name }) => name);
  const options = Array.from($("model").options, ({ value }) => value);
  if (options.join() !== names.join()) {
    const before = $("model").value;
    $("model").replaceChildren(...names.map((name) => el("option", {}, name)));
    if (names.includes(before)) $("model").value = before;
  }
  const model = ready.find(({ name }) => name === $("model").value);
  document.querySelectorAll(".pick, .pick ~ section").forEach((part) => { part.hidden = !model; });
  if (names.length === 1) $("pick").hidden = true;
  if (!model) return;
  const { statistics, sessions, ...described } = model;
  if (chosen === JSON.stringify(described)) return;
  chosen = JSON.stringify(described);
  chooseForRequest(model);
  chooseForStream(model);
}

function show() {
  const [, now] = kept.at(-1);
  const [past, seconds] = since(KEPT_MS);
  $("content").hidden = false;
  showHealth(now, past, seconds);
  showTiles(now, past, since(RATE_MS));
  showWho(now);
  showRefusals(now, past);
  showModels(now);
  choose(now);
  showModel(now, $("window").value === "minute" ? past : null, $("model").value);
}

function lock(sentence) {
  kept = [];
  $("content").hidden = $("health").hidden = $("forget").hidden = $("pause").hidden = true;
  $("locked").hidden = false;
  say($("key-error"), hasKey() ? `The server says: ${sentence}.` : "");
  setKey("");
  $("key").focus();
}

function arrived(now) {
  const at = performance.now();
  if (kept.length && now.server.uptime_seconds < kept.at(-1)[1].server.uptime_seconds) kept = [];
  kept = kept.filter(([when]) => when >= at - KEPT_MS - EVERY_MS);
  kept.push([at, now]);
  $("locked").hidden = true;
  $("health").hidden = $("pause").hidden = false;
  $("forget").hidden = !hasKey();
  show();
}

function failed(error) {
  const line = error instanceof Refusal ? "The server refuses to say how it is" : "The server does not answer";
  setHealth("bad", line, [error.message, "What is below is from before. This page asks again every second."]);
}

/** Ask, show, and ask again in a second. Of several calls at once, the last one does. */
async function look() {
  clearTimeout(timer);
  looks += 1;
  const mine = looks;
  const [now, error] = await overview(WAIT_S).then((found) => [found, null], (thrown) => [null, thrown]);
  if (mine !== looks) return;
  if (error?.status === 401) lock(error.message);
  else {
    if (!paused) timer = setTimeout(look, EVERY_MS);
    if (error) failed(error);
    else arrived(now);
  }
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  setKey($("key").value.trim());
  $("key").value = "";
  look();
});
$("forget").addEventListener("click", () => {
  setKey("");
  location.reload();
});
$("pause").addEventListener("click", () => {
  paused = !paused;
  $("pause").setAttribute("aria-pressed", String(paused));
  clearTimeout(timer);
  if (!paused) look();
});
$("model").addEventListener("change", show);
$("window").addEventListener("change", show);
document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden && !paused && $("locked").hidden) look();
});
setUpRequest();
setUpStream();
look();
