// The form that sends one request.

import { ask, Refusal } from "./api.js";
import { $, many, say } from "./dom.js";
import { request, shapesOf, size } from "./tensors.js";

const MOST_VALUES = 50_000; // that a text field is filled with
const MOST_SHOWN = 20_000; // characters of an answer
let model = null;

function fill(value) {
  const values = shapesOf(model).reduce((sum, shape) => sum + size(shape), 0);
  if (values > MOST_VALUES) say($("answer-line"), `The inputs have ${many(values, "value")}: more than this form is filled with.`);
  else $("body").value = request(model, value);
}

/** Another model, or the same one loaded anew. */
export function chooseForRequest(chosen) {
  model = chosen;
  $("body").value = "";
  say($("answer-line"), "");
  $("answer").hidden = true;
  fill(() => 0);
  $("sequence").disabled = model.states.length === 0;
  say($("sequence-hint"), model.states.length === 0
    ? "The model keeps no state, so that its requests belong to no sequence."
    : "Digits are a number; a text of digits alone stands in double quotes. The first request of a sequence needs Start.");
}

async function send(event) {
  event.preventDefault();
  const query = new URLSearchParams();
  if (!$("sequence").disabled) {
    if ($("sequence-id").value) query.set("sequence_id", $("sequence-id").value);
    if ($("sequence-start").checked) query.set("sequence_start", "true");
    if ($("sequence-end").checked) query.set("sequence_end", "true");
  }
  const url = `v2/models/${encodeURIComponent(model.name)}/infer?${query}`;
  say($("answer-line"), "Waiting for the answer…");
  const began = performance.now();
  const took = () => `${(performance.now() - began).toFixed(1)} ms (round trip)`;
  let text = "";
  try {
    text = await ask(url, { method: "POST", body: $("body").value, headers: { "Content-Type": "application/json" } });
    say($("answer-line"), `Answered in ${took()}.`);
    $("sequence-start").checked = false;
  } catch (error) {
    say($("answer-line"), error instanceof Refusal
      ? `Refused with status ${error.status} (${error.reason || "no reason"}) in ${took()}: ${error.message}`
      : `There is no answer: ${error.message}`);
  }
  const rest = text.length - MOST_SHOWN;
  $("answer").textContent = text.slice(0, MOST_SHOWN).replaceAll(",", ", ") + (rest > 0 ? `\n… ${many(rest, "more character")}` : "");
  $("answer").hidden = text === "";
}

export function setUpRequest() {
  $("zeros").addEventListener("click", () => fill(() => 0));
  $("random").addEventListener("click", () => fill(() => 2 * Math.random() - 1));
  $("request").addEventListener("submit", send);
}
