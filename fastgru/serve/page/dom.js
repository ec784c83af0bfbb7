// Elements, and numbers as people read them.

export const $ = (id) => document.getElementById(id);

/** An element: el("td", { class: "number" }, "text", child). */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Set a text, unless it is there already: screen readers tell a text that is set. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Terms and descriptions into a <dl>; a description is a text or [text, a second line]. */
export function describe(list, entries) {
  list.replaceChildren(...entries.map(([term, text]) => {
    const [first, second] = [].concat(text);
    return el("div", {}, el("dt", {}, term), el("dd", {}, first, ...(second ? [el("small", {}, second)] : [])));
  }));
}

export const number = (n) => n.toLocaleString("en-US", { maximumFractionDigits: 1 });

export const many = (n, one, more = `${one}s`) => `${number(n)} ${n === 1 ? one : more}`;

/** "1.5 ms" of nanoseconds. */
export function time(ns) {
  const [unit, size] = ns < 1e3 ? ["ns", 1] : ns < 1e6 ? ["µs", 1e3] : ns < 1e9 ? ["ms", 1e6] : ["s", 1e9];
  return `${Number((ns / size).toPrecision(3))} ${unit}`;
}

/** "3 min 20 s" of seconds. */
export function span(seconds) {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor(s / 60) % 60} min`;
  return `${number(Math.floor(s / 86400))} d ${Math.floor(s / 3600) % 24} h`;
}

/** "x FP32 [any, any, 40]" of an input, output or state. */
export function field({ name, datatype, shape }) {
  const sizes = shape === null ? "of any shape" : `[${shape.map((n) => (n < 0 ? "any" : n)).join(", ")}]`;
  return `${name} ${datatype} ${sizes}`;
}
