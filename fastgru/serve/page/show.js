// The overview as a person reads it.

import { added, gained, ofAll, ofModel, quantile, sum } from "./counts.js";
import { $, describe, el, field, many, number, say, span, time } from "./dom.js";

const FULL = 0.9; // of the sessions that may be open
const list = (counts) => Object.entries(counts).sort((a, b) => b[1] - a[1]).map(([name, n]) => `${name} ${number(n)}`).join(", ");
const atMost = (ns) => (ns === null ? "–" : `≤ ${time(ns)}`);

/** A request over HTTP that fails counts at the server and at its model, a frame of a stream at its model alone. */
function refusedOf(http, models) {
  const most = (reason) => [reason, Math.max(http[reason] ?? 0, models[reason] ?? 0)];
  return Object.fromEntries(Object.keys({ ...http, ...models }).map(most));
}

/** The head of the page. past: the overview of a minute ago, or the oldest that there is. seconds: since then. */
export function showHealth(now, past, seconds) {
  const { server } = now;
  const recent = ofAll(now, past);
  const refused = refusedOf(gained(server.refused, past.server.refused), recent.failed);
  const period = `in the last ${span(Math.max(1, seconds))}`;
  const more = [];
  let [level, line] = ["good", "Healthy"];
  const note = (text, as = "warn") => {
    more.push(text);
    if (as === "bad" || level === "good") level = as;
  };
  if (!server.ready) note("The server takes no new requests, and finishes those that it has.", "bad");
  if (refused.internal) note(`The server has failed ${many(refused.internal, "time")} ${period}. Its log has the cause.`, "bad");
  if (sum(refused)) note(`${many(sum(refused), "request")} refused ${period}: ${list(refused)}.`);
  if (recent.nonfinite) note(`${many(recent.nonfinite, "answer")} with a NaN or an infinity ${period}.`);
  for (const { name, state, reason, sessions } of now.models) {
    if (state !== "READY") note(`Model ${name} is not served: ${reason}.`);
    else if (sessions && sessions.open >= FULL * sessions.capacity) {
      note(`Model ${name} has ${number(sessions.open)} of ${number(sessions.capacity)} sessions.`);
    }
  }
  if (level === "warn") line = sum(refused) ? "Ready, and refusing some requests" : "Ready, with something to look at";
  if (level === "bad") line = server.ready ? "The server has failures" : "The server is shutting down";
  if (!more.length) more.push(`${many(now.models.length, "model")} ready, nothing refused ${period}.`);
  setHealth(level, line, more);
}

/** level: good, warn or bad. */
export function setHealth(level, line, more) {
  $("health").dataset.level = level;
  say($("health-line"), line);
  $("health-more").replaceChildren(...more.map((text) => el("li", {}, text)));
  document.title = `${line} – fastgru serve`;
}

/** just: the overview of some seconds ago, and how many. */
export function showTiles(now, past, [just, seconds]) {
  const { server, models } = now;
  const [minute, last] = [ofAll(now, past), ofAll(now, just)];
  const sessions = models.map((model) => model.sessions).filter(Boolean);
  const open = sessions.reduce((all, { open }) => all + open, 0);
  const evicted = sessions.reduce((all, { evicted }) => all + evicted, 0);
  const rate = (n) => (seconds ? number(n < 10 * seconds ? n / seconds : Math.round(n / seconds)) : "–");
  describe($("tiles"), [
    ["Requests per second", [rate(last.requests), `${many(server.pending, "request")} on the way`]],
    ["Live sessions", [number(open), `${number(evicted)} ended for being idle`]],
    ["Execution, median", [atMost(quantile(minute.execution_times, 0.5)), `99 %: ${atMost(quantile(minute.execution_times, 0.99))}`]],
    ["Wait before it, mean", [minute.requests ? time(minute.queue_ns / minute.requests) : "–", "in the last minute"]],
    ["Requests per execution", [minute.executions ? number(minute.requests / minute.executions) : "–", "in the last minute"]],
    ["CPU", [seconds ? `${number((server.cpu_seconds - just.server.cpu_seconds) / seconds * 100)} %` : "–", "of one core"]],
    ["Connections", [number(server.connections), `up for ${span(server.uptime_seconds)}`]],
    ["Non-finite answers", [number(ofAll(now, null).nonfinite), "since the start"]],
  ]);
  say($("build"), `${server.version} for ${server.target}`);
}

/** What an API key sees and what it does not. */
export function showWho({ key, is_admin: isAdmin }) {
  say($("who"), key === null
    ? "This server has no API keys: everybody who reaches it sees all of this."
    : isAdmin
      ? `Your key is ${key}, of the role admin: you see the sessions of every key. Requests from this page use your own.`
      : `Your key is ${key}, of the role user: you see your own sessions, and those of other keys only as a number.`
        + " Counts and times are of all keys.");
}

/** Refusals by reason. */
export function showRefusals(now, past) {
  const http = now.server.refused;
  const models = ofAll(now, null).failed;
  const recentHttp = gained(http, past.server.refused);
  const recentModels = ofAll(now, past).failed;
  const cell = (all = 0, recent = 0) => el("td", { class: "number" }, recent ? `${number(all)} (${number(recent)})` : number(all));
  const reasons = Object.entries(added(http, models)).sort((a, b) => b[1] - a[1]);
  $("no-refusals").hidden = reasons.length > 0;
  $("refusals").hidden = reasons.length === 0;
  $("refusals").tBodies[0].replaceChildren(...reasons.map(([reason]) => el("tr", {},
    el("th", { scope: "row" }, reason), cell(http[reason], recentHttp[reason]), cell(models[reason], recentModels[reason]))));
}

function sessionsOf({ open, capacity, evicted, parked, former }) {
  return [`${number(open)} of ${number(capacity)}`, `${number(evicted)} evicted`,
    ...(parked === null ? [] : [`${number(parked)} parked on disk`]),
    ...(former ? [`${number(former)} with a model that was loaded before`] : [])].join(", ");
}

/** A card for each model. */
export function showModels(now) {
  $("models").replaceChildren(...now.models.map((model) => {
    const ready = model.state === "READY";
    const facts = el("dl");
    if (ready) {
      const { statistics: counts, sessions } = model;
      const lines = (fields) => fields.map(field).join("; ") || "none";
      describe(facts, [
        ["Inputs", lines(model.inputs)],
        ["Outputs", lines(model.outputs)],
        ["States", lines(model.states)],
        ["Precision", model.precision],
        ["Sessions", sessions ? sessionsOf(sessions) : "none: the model keeps no state"],
        ["Answered", many(counts.requests, "request")],
        ["Refused", sum(counts.failed) ? `${number(sum(counts.failed))}: ${list(counts.failed)}` : "0"],
        ["Non-finite", number(counts.nonfinite)],
      ]);
    }
    const badge = el("span", { class: ready ? "badge" : "badge off" }, ready ? "ready" : `not served: ${model.reason}`);
    return el("article", {}, el("div", { class: "row" }, el("h3", {}, model.name), badge), facts);
  }));
}

function showHistogram(table, histogram, label, none) {
  const found = Object.keys(histogram).map(Number);
  const total = sum(histogram);
  const rows = [];
  for (let bound = Math.min(...found); bound <= Math.max(...found); bound *= 2) {
    const count = histogram[bound] ?? 0;
    const bar = el("div", { class: "bar" });
    bar.style.width = `${(100 * count) / Math.max(...Object.values(histogram))}%`;
    bar.hidden = count === 0;
    const share = count && count < total / 1000 ? "< 0.1 %" : `${number((100 * count) / total)} %`;
    rows.push(el("tr", {}, el("th", { scope: "row" }, label(bound)), el("td", { "aria-hidden": "true" }, bar),
      el("td", { class: "number" }, number(count)), el("td", { class: "number quiet" }, share)));
  }
  table.tBodies[0].replaceChildren(...(rows.length ? rows : [el("tr", {}, el("td", { class: "quiet" }, none))]));
}

/** The histograms and the sessions of one model. before: the overview since which it counts, null for the start. */
export function showModel(now, before, name) {
  const { sessions } = now.models.find((model) => model.name === name) ?? {};
  const counts = ofModel(now, before, name);
  const none = "Nothing has run in this period.";
  showHistogram($("times"), counts.execution_times, (ns) => `${time(ns / 2)} to ${time(ns)}`, none);
  showHistogram($("sizes"), counts.tick_sizes, (n) => (n <= 2 ? String(n) : `${n / 2 + 1} to ${n}`), none);
  const listed = sessions?.listed ?? [];
  const others = (sessions?.open ?? 0) - (sessions?.visible ?? 0);
  const notes = !sessions ? ["This model keeps no state, so that it has no sessions."] : [
    listed.length ? `${many(sessions.visible, "session")}, the newest first.` : "No session is open.",
    sessions.more ? `${number(sessions.more)} more are not listed.` : "",
    others > 0 ? `${many(others, "session")} of other keys ${others === 1 ? "is" : "are"} not shown to yours.` : "",
  ];
  say($("sessions-note"), notes.filter(Boolean).join(" "));
  $("sessions-box").hidden = listed.length === 0;
  const keys = listed.some((session) => session.key !== null);
  document.querySelectorAll("#sessions .owner").forEach((cell) => { cell.hidden = !keys; });
  const cell = (text) => el("td", { class: "number" }, text);
  $("sessions").tBodies[0].replaceChildren(...listed.map(({ id, key, step, age_seconds: age, idle_seconds: idle }) => el("tr", {},
    el("th", { scope: "row" }, id), ...(keys ? [el("td", {}, key ?? "")] : []), cell(number(step)), cell(span(age)), cell(span(idle)))));
}
