"use strict";

/* Small pictures of layers, matrices and curves; pictures.js of the explorer paints the pixels. */

/* Return [height, width] with height * width = size, as square as can be. */
function gridOf(size) {
  let height = Math.floor(Math.sqrt(size));
  while (size % height) height--;
  return [height, size / height];
}

/* Return the largest size of any value; at least a tiny number. */
function largest(values) {
  let most = 1e-12;
  for (const value of values) if (Math.abs(value) > most) most = Math.abs(value);
  return most;
}

/* Return a number with three digits that count. */
function written(value) {
  const size = Math.abs(value);
  const text =
    value !== 0 && (size >= 1e5 || size < 1e-3) && size < Infinity
      ? value.toExponential(1)
      : String(Number(value.toPrecision(3)));
  return text.replaceAll("-", "\u2212");
}

/* Return the values with 0 for those that are not finite, as after a run that diverged. */
function finite(values) {
  return values.every(Number.isFinite) ? values : values.map((value) => (Number.isFinite(value) ? value : 0));
}

/* Paint values from 0 (black) to `high` (white). */
function paintValues(canvas, values, shape, high) {
  values = finite(values);
  paintImage(canvas, values, shape, { low: 0, high: high ?? largest(values) });
}

/* Paint values of both signs: blue below 0, red above. */
function paintSigned(canvas, values, shape) {
  values = finite(values);
  const high = largest(values);
  paintImage(canvas, values, shape, { low: -high, high, signed: true });
}

/* Add a captioned canvas to an element. */
function figureIn(element, caption, { wide = false } = {}) {
  const figure = element.appendChild(make("figure", "", { class: wide ? "wide" : "" }));
  const text = figure.appendChild(make("figcaption", caption));
  const canvas = figure.appendChild(make("canvas", "", { role: "img" }));
  const detail = figure.appendChild(make("small", ""));
  return { figure, text, canvas, detail };
}

const LOSS_NAMES = {
  total: ["L_in", "text"],
  sym: ["L_sym", "supervisor"],
  ap: ["L_ap", "ap"],
  nc: ["L_nc", "nc"],
  rec: ["L_rec", "student"],
};

/* Draw the losses of all steps on a logarithmic scale. `records` is a list of { total, sym, ... }. */
function drawCurves(canvas, records) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth * ratio, canvas.clientHeight * ratio].map(Math.round);
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.font = `${12 * ratio}px system-ui, sans-serif`;
  context.fillStyle = css("soft");
  if (records.length < 2) {
    context.fillText("The curve begins with the second batch.", 8 * ratio, height / 2);
    return;
  }
  let [low, high] = [Infinity, -Infinity];
  for (const record of records) {
    for (const value of Object.values(record)) {
      if (!(value > 0) || value === Infinity) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  low = Math.floor(Math.log10(Math.max(low, high * 1e-6)));
  high = Math.max(low + 1, Math.ceil(Math.log10(high)));
  const left = 44 * ratio;
  const toY = (value) => (1 - (Math.log10(value) - low) / (high - low)) * (height - 24 * ratio) + 6 * ratio;
  for (let power = low; power <= high; power++) {
    const y = toY(10 ** power);
    context.fillStyle = css("line");
    context.fillRect(left, y, width - left, ratio);
    context.fillStyle = css("soft");
    context.fillText(power >= -3 && power <= 3 ? String(10 ** power) : `1e${power}`, 2 * ratio, y + 4 * ratio);
  }
  context.fillText(`step ${records.length}`, width - 70 * ratio, height - 4 * ratio);
  const step = Math.max(1, records.length / (width - left));
  for (const [name, [, color]] of Object.entries(LOSS_NAMES)) {
    context.strokeStyle = css(color);
    context.lineWidth = (name === "total" ? 2.5 : 1.5) * ratio;
    context.beginPath();
    for (let at = 0, first = true; at < records.length; at += step) {
      const value = records[Math.floor(at)][name];
      if (!(value > 0)) {
        first = true;
        continue;
      }
      const x = left + (at / (records.length - 1)) * (width - left);
      context[first ? "moveTo" : "lineTo"](x, toY(value));
      first = false;
    }
    context.stroke();
  }
}
