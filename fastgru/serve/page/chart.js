// Lines over time on a canvas.

export const LINES = 6; // there is a colour for each
const SECONDS = 10; // that are seen
const [LEFT, RIGHT, TOP, BOTTOM] = [56, 12, 10, 40]; // around the lines, in pixels

/** A step of 1, 2 or 5 times a power of ten, with at most so many of them in a range. */
function stepFor(range, most) {
  const power = 10 ** Math.floor(Math.log10(range / most));
  return power * [1, 2, 5, 10].find((n) => range / (n * power) <= most);
}

/** points: [seconds, values] from old to new. label: of the values. */
export function draw(canvas, points, now, label) {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    [canvas.width, canvas.height] = [Math.round(width * scale), Math.round(height * scale)];
  }
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name);
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "12px system-ui, sans-serif";

  const end = Math.max(SECONDS, now);
  const seen = points.filter(([t]) => t >= end - SECONDS);
  const values = seen.flatMap(([, all]) => all).filter(Number.isFinite);
  let [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [-1, 1];
  if (high - low < 1e-6 * Math.max(1, Math.abs(high))) [low, high] = [low - 1, high + 1];
  const step = stepFor(high - low, 5);
  [low, high] = [Math.floor(low / step) * step, Math.ceil(high / step) * step];
  const x = (t) => LEFT + ((t - end + SECONDS) / SECONDS) * (width - LEFT - RIGHT);
  const y = (value) => TOP + ((high - value) / (high - low)) * (height - TOP - BOTTOM);

  context.strokeStyle = colour("--edge");
  context.fillStyle = colour("--text");
  context.lineWidth = 1;
  const grid = (x0, y0, x1, y1) => {
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
  };
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (let i = 0; low + i * step <= high + step / 2; i += 1) {
    const value = Number((low + i * step).toPrecision(6));
    grid(LEFT, y(value), width - RIGHT, y(value));
    context.fillText(Math.abs(value) >= 1e5 ? value.toExponential(1) : String(value), LEFT - 6, y(value));
  }
  context.textAlign = "center";
  context.textBaseline = "top";
  const every = width < 500 ? 2.5 : 1;
  for (let t = Math.ceil((end - SECONDS) / every) * every; t <= end + 1e-9; t += every) {
    grid(x(t), height - BOTTOM, x(t), height - BOTTOM + 4);
    context.fillText(String(t), x(t), height - BOTTOM + 6);
  }
  context.fillText("time since the start (s)", (LEFT + width - RIGHT) / 2, height - 16);
  context.save();
  context.translate(12, (TOP + height - BOTTOM) / 2);
  context.rotate(-Math.PI / 2);
  context.textBaseline = "middle";
  context.fillText(label, 0, 0);
  context.restore();

  context.lineWidth = 1.75;
  context.lineJoin = "round";
  for (let line = 0; line < LINES; line += 1) {
    context.strokeStyle = colour(`--line-${line + 1}`);
    context.beginPath();
    let drawing = false;
    for (const [t, all] of seen) {
      if (!Number.isFinite(all[line])) drawing = false;
      else if (drawing) context.lineTo(x(t), y(all[line]));
      else {
        context.moveTo(x(t), y(all[line]));
        drawing = true;
      }
    }
    context.stroke();
  }
}
