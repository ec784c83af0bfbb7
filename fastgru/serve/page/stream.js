// One session that is fed from here over a WebSocket, and a chart of what comes back.

import { ask, openStream } from "./api.js";
import { draw, LINES } from "./chart.js";
import { $, describe, el, number, say } from "./dom.js";
import { frame, shapesOf, valuesOf } from "./tensors.js";

const MOST_WAITING = 100; // frames without an answer, above which none is sent
const MOST_POINTS = 2_500;
const MOST_TIMES = 1_000; // round trips that percentiles are of
const CATCH_UP_S = 0.5; // a browser that was busy for longer does not send what it has missed

/** The waveforms: values from -1 to 1. t: seconds. j: the index in a frame of `width` values. rate: frames a second. */
const SIGNALS = {
  sine: (t, j, width) => Math.sin(2 * Math.PI * (t / 2 + j / width)),
  noise: () => 2 * Math.random() - 1,
  voice: (t, j, width, rate) => {
    const at = t + j / (width * rate); // the values of a frame are samples that follow each other
    const loud = Math.max(0, Math.sin(2 * Math.PI * 1.3 * at)) ** 2;
    const tone = [1, 2, 3, 4].reduce((sum, k) => sum + Math.sin(2 * Math.PI * 120 * k * at) / (2 * k), 0);
    return 0.8 * loud * tone + 0.03 * (2 * Math.random() - 1);
  },
};
const still = matchMedia("(prefers-reduced-motion: reduce)");
let model = null;
let run = null; // what is going on: see `begin`
let points = [];
let drawn = 0;

const share = (sorted, part) => (sorted.length ? `${sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))].toFixed(1)} ms` : "–");
const now = () => (run.paused ? run.pausedAt : performance.now() - run.base) / 1000;

/** Another model, or the same one loaded anew. */
export function chooseForStream(chosen) {
  stop();
  model = chosen;
  points = [];
  $("output").replaceChildren(...model.outputs.map(({ name }) => el("option", {}, name)));
  $("legend").replaceChildren();
  $("stream-figures").replaceChildren();
  say($("stream-line"), "");
  $("chart").setAttribute("aria-label", "No stream has been started.");
  draw($("chart"), [], 0, model.outputs[0]?.name ?? "");
}

function begin(event) {
  event.preventDefault();
  stop();
  points = [];
  const socket = openStream(model.name);
  run = { socket, session: "", opened: false, paused: false, base: 0, pausedAt: 0, sent: 0, answered: 0, refused: 0, skipped: 0, waiting: [], times: [], timer: 0 };
  const mine = run;
  const ifMine = (work) => (given) => { if (run === mine) work(given); };
  socket.onopen = ifMine(() => {
    const shapes = Object.fromEntries(shapesOf(model).map((shape, i) => [model.inputs[i].name, shape]));
    socket.send(JSON.stringify({ type: "open", shapes }));
  });
  socket.onmessage = ifMine(({ data }) => (typeof data === "string" ? told(JSON.parse(data)) : answered(data)));
  socket.onclose = ifMine(lost);
  buttons();
  say($("stream-line"), "Connecting…");
}

function told({ type, event, message, status, reason, sequence_id: id }) {
  if (type === "opened") {
    Object.assign(run, { opened: true, base: performance.now(), session: id ?? "none" });
    say($("stream-line"), `Streaming${id ? ` in session ${id}` : ""}.`);
    tick();
  } else if (type === "error") {
    if (run.opened) {
      run.refused += 1;
      run.waiting.shift();
    }
    say($("stream-line"), `Refused with status ${status} (${reason}): ${message}`);
    if (!run.opened) stop();
  } else if (type === "event") {
    say($("stream-line"), message);
    if (event !== "draining") stop();
  }
}

/** A frame for each moment that has passed, then again. */
function tick() {
  const rate = Math.min(200, Math.max(1, Number($("rate").value) || 1));
  run.due ??= 0;
  if (!run.paused) {
    if (now() - run.due > CATCH_UP_S) {
      run.skipped += Math.floor((now() - run.due) * rate);
      run.due = now();
    }
    for (; run.due <= now(); run.due += 1 / rate) {
      if (run.waiting.length >= MOST_WAITING) run.skipped += 1;
      else {
        const [signal, t] = [SIGNALS[$("signal").value], run.due];
        run.waiting.push([performance.now(), t]);
        run.socket.send(frame(model, (j, width) => signal(t, j, width, rate)));
        run.sent += 1;
      }
    }
  }
  paint();
  run.timer = setTimeout(tick, Math.max(4, 500 / rate));
}

function answered(buffer) {
  const [sent, due] = run.waiting.shift();
  run.times.push(performance.now() - sent);
  if (run.times.length > MOST_TIMES) run.times.shift();
  run.answered += 1;
  const name = $("output").value;
  const found = valuesOf(buffer, model.outputs, name, LINES);
  if (found === null) say($("stream-line"), "Answers have outputs of several free sizes, which this page cannot tell apart: nothing is drawn.");
  else {
    if (run.name !== name) points = [];
    run.name = name;
    points.push([due, found.values]);
    if (points.length > MOST_POINTS) points.shift();
    legend(name, found);
  }
}

function legend(name, { values, count }) {
  const key = `${name} ${count}`;
  if ($("legend").dataset.of === key && $("legend").children.length) return;
  $("legend").dataset.of = key;
  const items = values.map((_, i) => el("li", {}, el("span", { class: `line-${i + 1}`, "aria-hidden": "true" }), `${name}[${i}]`));
  const rest = count - values.length;
  $("legend").replaceChildren(...items, ...(rest ? [el("li", { class: "quiet" }, `${number(rest)} more of ${number(count)} values are not drawn`)] : []));
}

/** Draw, unless that was a moment ago; a second ago for those who want little motion. */
function paint() {
  const at = performance.now();
  if (at - drawn < (still.matches ? 1_000 : 50)) return;
  drawn = at;
  if (document.hidden) return;
  draw($("chart"), points, now(), `${run.name ?? ""} (value)`);
  const sorted = [...run.times].sort((a, b) => a - b);
  describe($("stream-figures"), [
    ["Round trip, median", share(sorted, 0.5)],
    ["Round trip, 99 %", share(sorted, 0.99)],
    ["Frames sent", number(run.sent)],
    ["Answered", number(run.answered)],
    ["Refused", number(run.refused)],
    ["Skipped", number(run.skipped)],
  ]);
  const last = points.at(-1)?.[1].map((value) => Number(value.toPrecision(3))).join(", ");
  $("chart").setAttribute("aria-label", `Output ${run.name ?? ""} over the last 10 seconds; the newest values are ${last ?? "none"}.`);
}

function pause() {
  if (run.paused) run.base = performance.now() - run.pausedAt;
  else run.pausedAt = performance.now() - run.base;
  run.paused = !run.paused;
  say($("stream-line"), run.paused ? `Paused. Session ${run.session} stays open.` : `Streaming in session ${run.session}.`);
  buttons();
}

function stop() {
  if (run === null) return;
  clearTimeout(run.timer);
  run.socket.onclose = null;
  run.socket.close(1000);
  run = null;
  buttons();
}

/** The connection is over, and nobody here has asked for that. A browser does not tell why a handshake failed. */
async function lost({ code, reason }) {
  const { opened } = run;
  stop();
  say($("stream-line"), `The connection has ended (${code}${reason ? `, ${reason}` : ""}).`);
  if (opened) return;
  try {
    await ask(`v2/models/${encodeURIComponent(model.name)}/ready`);
  } catch (error) {
    say($("stream-line"), `The connection was refused: ${error.message}`);
  }
}

function buttons() {
  if (run === null && [$("stream-pause"), $("stream-stop")].includes(document.activeElement)) $("stream-start").focus();
  $("stream-pause").disabled = $("stream-stop").disabled = run === null;
  $("stream-pause").setAttribute("aria-pressed", String(run?.paused ?? false));
}

export function setUpStream() {
  $("stream").addEventListener("submit", begin);
  $("stream-pause").addEventListener("click", () => { if (run?.opened) pause(); });
  $("stream-stop").addEventListener("click", () => {
    stop();
    say($("stream-line"), "Stopped. The session has ended.");
  });
  new ResizeObserver(() => { if (run === null) draw($("chart"), points, points.at(-1)?.[0] ?? 0, $("output").value); }).observe($("chart"));
}
