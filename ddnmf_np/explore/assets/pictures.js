"use strict";

/* Pictures of samples on a canvas: pixels if a sample is an image, otherwise bars.
 *
 * A scale {low, high, signed} gives the range of values; `signed` puts zero in the middle, for
 * changes. Values outside of the range get the colour of its nearest end.
 */

/* Blue means less and red means more. On a light page we use matplotlib's RdBu_r, white at zero, as
 * in the figures of the package; on a dark page, colours that are dark at zero and bright at the
 * ends. Both are readable with the common colour vision deficiencies. */
const CHANGE_COLORS = {
  light: [
    "053061", "2166ac", "4393c3", "92c5de", "d1e5f0", "f7f7f7",
    "fddbc7", "f4a582", "d6604d", "b2182b", "67001f",
  ],
  dark: ["b9e0ff", "6db4f0", "2f7fc4", "20466e", "1b1e25", "6b2f23", "c4482b", "f0805a", "ffc9ad"],
};

/* Return 256 colours [red, green, blue], interpolated between the given ones. */
function ramp(hexes) {
  const stops = hexes.map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Array.from({ length: 256 }, (_, level) => {
    const place = (level / 255) * (stops.length - 1);
    const left = Math.min(Math.floor(place), stops.length - 2);
    return stops[left].map((value, k) => value + (place - left) * (stops[left + 1][k] - value));
  });
}

const RAMPS = {
  values: ramp(["000000", "ffffff"]),
  light: ramp(CHANGE_COLORS.light),
  dark: ramp(CHANGE_COLORS.dark),
};

/* Return the 256 colours of a scale in the current theme. */
function colorsOf(scale) {
  return scale.signed ? RAMPS[theme()] : RAMPS.values;
}

function theme() {
  return document.documentElement.dataset.theme;
}

/* Return a colour of style.css by name. */
function css(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

/* Draw a sample; `shape` is [height, width] of an image, or null for other data. */
function paint(canvas, values, shape, scale) {
  if (shape) paintImage(canvas, values, shape, scale);
  else paintBars(canvas, values, scale);
}

/* Draw one canvas pixel for each pixel of the image; style.css enlarges them without smoothing. */
function paintImage(canvas, values, [height, width], { low, high, ...scale }) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const colors = colorsOf(scale);
  for (let i = 0, at = 0; i < values.length; i++, at += 4) {
    const level = Math.round((255 * (values[i] - low)) / (high - low));
    const color = colors[Math.min(Math.max(level, 0), 255)];
    image.data[at] = color[0];
    image.data[at + 1] = color[1];
    image.data[at + 2] = color[2];
    image.data[at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/* Draw a bar for each feature, up or down from zero. If there are more features than pixels, each
 * column of pixels shows the largest of its features, so that no peak is lost. */
function paintBars(canvas, values, { low, high, signed }) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.max(1, Math.round((canvas.clientWidth || 96) * ratio));
  const height = Math.max(1, Math.round((canvas.clientHeight || 48) * ratio));
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const toY = (value) => {
    const share = (Math.min(Math.max(value, low), high) - low) / (high - low);
    return (1 - share) * (height - 2) + 1;
  };
  const zero = toY(0);
  const [up, down] = signed ? [css("more"), css("less")] : [css("bar"), css("bar")];
  const step = width / Math.min(values.length, width);
  for (let column = 0; column * step < width; column++) {
    const first = Math.floor((column * step * values.length) / width);
    const last = Math.max(first + 1, Math.floor(((column + 1) * step * values.length) / width));
    let peak = 0;
    for (let i = first; i < Math.min(last, values.length); i++) {
      if (Math.abs(values[i]) > Math.abs(peak)) peak = values[i];
    }
    context.fillStyle = peak < 0 ? down : up;
    const gap = step > 4 * ratio ? ratio : 0;
    const y = toY(peak);
    context.fillRect(column * step, Math.min(y, zero), step - gap, Math.abs(y - zero));
  }
  context.fillStyle = css("line");
  context.fillRect(0, zero - ratio / 2, width, ratio);
}

/* Draw the colours of a scale from low to high. */
function paintLegend(canvas, scale) {
  Object.assign(canvas, { width: 256, height: 1 });
  const values = Float32Array.from({ length: 256 }, (_, i) => i);
  paintImage(canvas, values, [1, 256], { ...scale, low: 0, high: 255 });
}

/* Return a number in few characters. */
function short(value) {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(1).replace("-", "\u2212");
  const text = size >= 100 ? value.toFixed(0) : value.toFixed(size >= 10 ? 1 : 2);
  return text.replace("-", "\u2212");
}
