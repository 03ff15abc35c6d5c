"use strict";

/* The page has one state, and one function, redraw(), that shows it.
 *
 *     sample   the chosen sample, or null
 *     drawn    the drawing that is shown in place of a sample, or null
 *     start    the code of the sample or drawing; "unmoved" means H = start
 *     H        the code that the sliders show
 *     unit     the selected base unit
 *
 * Text enters the page only as text (textContent), never as HTML.
 */

const content = JSON.parse(document.getElementById("content").textContent);
const shape = content.image_shape;
const rank = content.layers[0].inputs;
const units = content.units;
const samples = content.samples;
const still = window.matchMedia("(prefers-reduced-motion: reduce)");

const decoder = new Decoder(takeLayers(content.layers, takeWeights));
const encoder = content.encoder.layers && takeLayers(content.encoder.layers, takeRows);
const codes = samples && takeColumns("H", samples.H);
const pixels = samples && takeBytes("pixels");

const middle = (units.low + units.high) / 2;
const state = {
  sample: null,
  drawn: null,
  start: new Float32Array(rank).fill(middle),
  H: new Float32Array(rank).fill(middle),
  unit: 0,
};
const timings = { open: NaN, redraw: NaN }; // milliseconds

/* -- samples --------------------------------------------------------------------------------- */

/* Return the clean data of a sample. */
function clean(sample) {
  const from = sample * content.features;
  const bytes = pixels.subarray(from, from + content.features);
  return Float32Array.from(bytes, (level) => (level / 255) * content.high);
}

function codeOf(sample) {
  return codes.slice(sample * rank, (sample + 1) * rank);
}

/* Describe a sample in words. */
function nameOf(sample) {
  const words = [`no. ${samples.index[sample]}`];
  if (samples.labels) words.push(`label ${samples.classes[samples.labels[sample]]}`);
  if (samples.clusters) words.push(`cluster ${lettersOf(samples.clusters[sample])}`);
  return words.join(", ");
}

/* Return the name of a cluster: A to Z, then AA. A digit would be read as a label. */
function lettersOf(cluster) {
  const last = String.fromCharCode(65 + (cluster % 26));
  return cluster < 26 ? last : lettersOf(Math.floor(cluster / 26) - 1) + last;
}

/* Return the sample whose code is nearest to H, and its distance. */
function nearestTo(H) {
  let best = 0;
  let least = Infinity;
  for (let sample = 0, at = 0; sample < samples.index.length; sample++, at += rank) {
    let sum = 0;
    for (let k = 0; k < rank; k++) sum += (codes[at + k] - H[k]) ** 2;
    if (sum < least) [best, least] = [sample, sum];
  }
  return [best, Math.sqrt(least)];
}

/* Set the sliders to a sample's code, and empty the board. The address leads to the sample. */
function load(sample, tell = true) {
  board?.reset(shape);
  startAt(sample, null, codeOf(sample));
  if (tell) {
    history.replaceState(null, "", `#sample=${samples.index[sample]}`);
    say(`Sample ${nameOf(sample)} loaded.`);
  }
}

/* Set the sliders to the code of a drawing. */
function loadDrawing(values) {
  const x = Float32Array.from(values, (value) => value * content.high);
  startAt(null, x, through(encoder, x));
}

function startAt(sample, drawn, code) {
  stopWalk();
  Object.assign(state, { sample, drawn, start: code, H: code.slice() });
  changeScale = 0;
  if (map) map.current = sample;
  const place = samples ? samples.strip.indexOf(sample) : -1;
  strip.select(place < 0 ? null : place);
  requestRedraw();
}

/* Return the sample of the map that the address names, or the first of the strip. */
function addressed() {
  const no = new URLSearchParams(location.hash.slice(1)).get("sample");
  if (no === null) return samples.strip[0];
  const sample = samples.index.indexOf(no.trim() === "" ? -1 : Number(no));
  if (sample >= 0) return sample;
  byId("notes").hidden = false;
  byId("notes").append(make("li", `This page has no sample no. ${no}; it shows another one.`));
  return samples.strip[0];
}

/* -- lists of tiles: the strip of samples and the gallery of parts ---------------------------- */

/* A list with one selected tile: Tab reaches that tile, arrows go to the others. */
class Tiles {
  constructor(list, count, { onSelect, onEnter }) {
    this.list = list;
    this.tiles = Array.from({ length: count }, (_, k) => {
      const tile = make("div", "", { role: "option", tabindex: -1, "aria-selected": "false" });
      const picture = tile.appendChild(make("canvas", "", { "aria-hidden": "true" }));
      if (shape) picture.style.aspectRatio = `${shape[1]} / ${shape[0]}`;
      tile.addEventListener("click", () => {
        onSelect(k);
        onEnter?.(k);
      });
      list.appendChild(tile);
      return tile;
    });
    if (count) this.tiles[0].tabIndex = 0;
    list.addEventListener("keydown", (event) => {
      const from = this.tiles.indexOf(document.activeElement);
      if (from < 0) return;
      const to = this.target(event.key, from);
      if (to !== null) {
        this.tiles[to].focus();
        if (to !== from) onSelect(to);
      } else if (event.key === "Enter" || event.key === " ") {
        onSelect(from);
        onEnter?.(from);
      } else return;
      event.preventDefault();
    });
  }

  /* Return the tile that a key leads to, or null. */
  target(key, from) {
    const last = this.tiles.length - 1;
    const top = this.tiles[0].offsetTop;
    const columns = this.tiles.filter((tile) => tile.offsetTop === top).length;
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
    if (key === "Home") return 0;
    if (key === "End") return last;
    if (!(key in steps)) return null;
    const to = from + steps[key];
    return to < 0 || to > last ? from : to;
  }

  select(chosen) {
    this.tiles.forEach((tile, k) => {
      tile.setAttribute("aria-selected", String(k === chosen));
      tile.tabIndex = k === (chosen ?? 0) ? 0 : -1;
    });
    if (chosen !== null) reveal(this.list, this.tiles[chosen]);
  }

  canvas(k) {
    return this.tiles[k].firstChild;
  }
}

/* Scroll a list, but not the page, so that one of its elements is visible. */
function reveal(list, element) {
  const [outer, inner] = [list.getBoundingClientRect(), element.getBoundingClientRect()];
  if (inner.left < outer.left) list.scrollLeft -= outer.left - inner.left + 8;
  if (inner.right > outer.right) list.scrollLeft += inner.right - outer.right + 8;
  if (inner.top < outer.top) list.scrollTop -= outer.top - inner.top + 8;
  if (inner.bottom > outer.bottom) list.scrollTop += inner.bottom - outer.bottom + 8;
}

const strip = new Tiles(byId("strip"), samples ? samples.strip.length : 0, {
  onSelect: (k) => load(samples.strip[k]),
});

const gallery = new Tiles(byId("gallery"), rank, {
  onSelect: (k) => selectUnit(k),
  onEnter: (k) => sliders[k].input.focus(),
});

/* -- sliders ---------------------------------------------------------------------------------- */

/* Return the place of a value on its slider, from 0 to 1. */
function share(value) {
  return Math.min(Math.max((value - units.low) / (units.high - units.low), 0), 1);
}

const sliders = Array.from({ length: rank }, (_, k) => {
  const row = make("div", "", { class: "slider" });
  const name = row.appendChild(make("label", `unit ${k}`, { for: `unit-${k}` }));
  const track = row.appendChild(make("div", "", { class: "track" }));
  const input = track.appendChild(
    make("input", "", {
      type: "range",
      id: `unit-${k}`,
      min: units.low,
      max: units.high,
      step: (units.high - units.low) / 100,
    }),
  );
  const tick = track.appendChild(make("span", "", { class: "tick", "aria-hidden": "true" }));
  const output = row.appendChild(make("output", "", { for: `unit-${k}` }));
  if (units.dead?.[k]) {
    row.classList.add("dead");
    name.append(make("small", " dead"));
  }
  if (units.quantiles) {
    track.style.setProperty("--from", share(units.quantiles[0][k]));
    track.style.setProperty("--to", share(units.quantiles[2][k]));
  }
  input.addEventListener("input", () => {
    stopWalk();
    selectUnit(k);
    state.H[k] = input.valueAsNumber;
    requestRedraw();
  });
  input.addEventListener("focus", () => selectUnit(k));
  byId("sliders").append(row);
  return { row, input, tick, output };
});

function selectUnit(k) {
  if (k !== state.unit && walk.running) stopWalk();
  state.unit = k;
  gallery.select(k);
  sliders.forEach(({ row }, other) => row.classList.toggle("selected", other === k));
  reveal(byId("sliders"), sliders[k].row);
  showWalk();
  requestRedraw();
}

/* -- walk: move one unit to and fro ---------------------------------------------------------------- */

const PERIOD = 4000; // milliseconds to go there and back
const walk = { running: false, began: 0, phase: 0, step: 1 };

byId("walk").addEventListener("click", () => {
  if (walk.running) stopWalk();
  else if (still.matches) stepOnce();
  else startWalk();
});
byId("reset").addEventListener("click", () => {
  stopWalk();
  state.H = state.start.slice();
  changeScale = 0;
  say("All units are back at their start.");
  requestRedraw();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") stopWalk();
});
still.addEventListener("change", () => stopWalk());

/* Move the unit along a sine between the ends of its slider, from its current place. */
function startWalk() {
  Object.assign(walk, { running: true, began: performance.now() });
  walk.phase = Math.asin(2 * share(state.H[state.unit]) - 1);
  showWalk();
  requestAnimationFrame(walkOn);
}

function walkOn(now) {
  if (!walk.running) return;
  const angle = walk.phase + (2 * Math.PI * (now - walk.began)) / PERIOD;
  state.H[state.unit] = middle + ((units.high - units.low) / 2) * Math.sin(angle);
  redraw();
  requestAnimationFrame(walkOn);
}

/* For those who prefer no motion: move an eighth of the way per press, and turn at the ends. */
function stepOnce() {
  const stride = (units.high - units.low) / 8;
  const value = state.H[state.unit];
  if (value + walk.step * stride > units.high + 1e-6) walk.step = -1;
  if (value + walk.step * stride < units.low - 1e-6) walk.step = 1;
  state.H[state.unit] = value + walk.step * stride;
  requestRedraw();
}

function stopWalk() {
  walk.running = false;
  showWalk();
}

function showWalk() {
  const button = byId("walk");
  const verb = still.matches ? "Step" : walk.running ? "Stop" : "Walk";
  button.textContent = `${verb} unit ${state.unit}`;
  button.setAttribute("aria-pressed", String(walk.running));
}

/* -- showing the state ----------------------------------------------------------------------- */

const valueScale = { low: 0, high: content.high };

/* The scale of the change grows in steps until the next sample or reset. If it followed every
 * change, you could not see how large the change is. */
const CHANGE_SCALES = [0.1, 0.25, 0.5, 1].map((part) => part * content.high);
let changeScale = 0;

function scaleForChange(change, moved) {
  const peak = change.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const enough = CHANGE_SCALES.findIndex((most) => peak <= most);
  const needed = enough < 0 ? CHANGE_SCALES.length - 1 : enough;
  if (moved) changeScale = Math.max(changeScale, needed);
  const high = CHANGE_SCALES[moved ? changeScale : needed];
  return { low: -high, high, signed: true };
}

/* Return what the selected unit would change, from the low to the high end of its grey band, or of its
 * slider: before the first move there is no other change to show. */
function preview() {
  const H = state.start.slice();
  const [low, high] = units.quantiles ? [units.quantiles[0], units.quantiles[2]] : [[], []];
  const at = (end, value) => {
    H[state.unit] = value ?? end;
    return decoder.decode(H);
  };
  const up = at(units.high, high[state.unit]);
  return at(units.low, low[state.unit]).map((value, i) => up[i] - value);
}

let unmoved = null; // decode(state.start), and the code it belongs to
let asked = false;

function requestRedraw() {
  if (!asked) requestAnimationFrame(redraw);
  asked = true;
}

function redraw() {
  const began = performance.now();
  asked = false;
  const values = decoder.decode(state.H);
  const moved = state.H.some((value, k) => value !== state.start[k]);
  if (unmoved?.start !== state.start) {
    unmoved = { start: state.start, values: decoder.decode(state.start) };
  }
  const change = moved ? values.map((value, i) => value - unmoved.values[i]) : preview();
  const scale = scaleForChange(change, moved);
  byId("change-of").textContent = moved ? "from the start" : `if unit ${state.unit} moves`;
  paint(canvasOf("student"), values, shape, valueScale);
  paint(canvasOf("change"), change, shape, scale);
  showLegend(scale);
  if (samples) showSamples();
  sliders.forEach(({ input, tick, output }, k) => {
    const value = state.H[k];
    // Leave the slider alone while it is dragged.
    if (Math.abs(input.valueAsNumber - value) > 1e-6) input.value = value;
    input.setAttribute("aria-valuetext", `${short(value)}, unmoved ${short(state.start[k])}`);
    output.textContent = short(value);
    output.classList.toggle("moved", value !== state.start[k]);
    tick.style.setProperty("--at", share(state.start[k]));
  });
  describe(change, moved);
  timings.redraw = performance.now() - began;
  showTiming();
}

function canvasOf(figure) {
  return byId(figure).querySelector("canvas");
}

let legendShown = "";

function showLegend(scale) {
  const now = `${scale.high} ${theme()}`;
  if (now === legendShown) return;
  legendShown = now;
  paintLegend(byId("change").querySelector(".legend canvas"), scale);
  const [low, high] = [short(scale.low), "+" + short(scale.high)];
  byId("less").textContent = shape ? low : `height ${low} to ${high}`;
  byId("more").textContent = shape ? high : "";
}

let shown = { clean: null, nearest: null }; // samples or drawings whose pictures are already drawn

function showSamples() {
  const [near, distance] = nearestTo(state.H);
  for (const [figure, sample] of [["clean", state.drawn ?? state.sample], ["nearest", near]]) {
    if (shown[figure] === sample) continue;
    shown[figure] = sample;
    const name = sample === state.drawn ? "your drawing" : nameOf(sample);
    paint(canvasOf(figure), sample === state.drawn ? sample : clean(sample), shape, valueScale);
    canvasOf(figure).setAttribute("aria-label", `${figure} sample, ${name}`);
    byId(`${figure}-detail`).textContent = name;
  }
  byId("nearest-detail").textContent =
    near === state.sample ? "the sample itself" : `${nameOf(near)}; distance in H ${short(distance)}`;
  if (map && (map.nearest !== near || map.drawn !== state.sample)) {
    Object.assign(map, { nearest: near, drawn: state.sample });
    map.drawMarks();
  }
}

/* Describe the pictures in words. */
function describe(change, isMoved) {
  const moved = [...state.H.keys()].filter((k) => state.H[k] !== state.start[k]);
  const size = Math.sqrt(change.reduce((sum, value) => sum + value * value, 0) / change.length);
  const which = moved.length === 1 ? `unit ${moved[0]} moved` : `${moved.length} units moved`;
  const what = moved.length ? which : "not moved";
  const axes = shape ? "" : `; height 0 to ${short(content.high)}, ${content.features} features`;
  byId("student-detail").textContent = what + axes;
  canvasOf("student").setAttribute("aria-label", `Decoded H, ${what}`);
  const whose = isMoved ? "Change" : `Change if unit ${state.unit} moves`;
  canvasOf("change").setAttribute("aria-label", `${whose}, root mean square ${short(size)}`);
}

function showTiming() {
  byId("timing").textContent =
    `The decoder runs in this page. It computes ${decoder.products.toLocaleString("en")} products ` +
    `for an image; the last redraw took ${timings.redraw.toFixed(1)} ms.` +
    (encoder ? "" : ` This page has no drawing board, because ${content.encoder.reason}.`);
}

/* -- parts ------------------------------------------------------------------------------------- */

const PARTS_HINT = {
  alone:
    "Decoded alone: decode(e\u2096), with this unit at 1 and all others at 0. In plain NMF this is " +
    "the unit's part, and an image is a sum of parts. Here the layers above H are not linear, so " +
    "the parts need not add up, and real samples may be far from e\u2096.",
  effect:
    "Change of the output as one unit moves from its 5th to its 95th percentile over the samples, " +
    "with all others at their medians. These codes are close to real samples.",
};

/* Return the part of unit k, as decode_parts or unit_effects in ddnmf_np/evaluation/interpret.py. */
function part(k, reading) {
  const H = new Float32Array(rank);
  if (reading === "alone") {
    H[k] = 1;
    return decoder.decode(H);
  }
  const [low, median, high] = units.quantiles;
  H.set(median);
  H[k] = high[k];
  const up = decoder.decode(H);
  H[k] = low[k];
  return decoder.decode(H).map((value, i) => up[i] - value);
}

let parts = { reading: "", values: [] };

/* Decode all units, a few at a time, so that the page stays responsive. */
function showParts(reading) {
  parts = { reading, values: [] };
  const own = parts;
  const dead = units.dead?.includes(true) ? " A dead unit is the same for all samples." : "";
  byId("parts-hint").textContent = PARTS_HINT[reading] + dead;
  (function some() {
    const until = performance.now() + 12;
    while (own.values.length < rank && performance.now() < until) {
      own.values.push(part(own.values.length, reading));
    }
    if (own !== parts) return; // the reader has chosen the other reading meanwhile
    if (own.values.length < rank) setTimeout(some);
    else paintParts();
  })();
}

/* Draw the parts on one scale, so that weak parts look weak. A few bright pixels would make all
 * others dark, so we clip the largest of every 200 values. */
function paintParts() {
  if (parts.values.length < rank) return;
  // A sample of the values is enough to find the end of the scale.
  const every = Math.ceil((rank * content.features) / 1e6);
  const some = parts.values.flatMap((values) => Array.from(values.filter((_, i) => i % every === 0)));
  const signed = some.some((value) => value < 0);
  const sizes = Float32Array.from(some, Math.abs).sort();
  const last = sizes.length - 1;
  const peak = sizes[Math.floor(0.995 * last)] || sizes[last] || 1;
  const scale = { low: signed ? -peak : 0, high: peak, signed };
  parts.values.forEach((values, k) => paint(gallery.canvas(k), values, shape, scale));
  paintLegend(byId("part-legend"), scale);
  const beyond = sizes[last] > peak ? " or more" : "";
  const low = short(scale.low) + (signed && beyond ? " or less" : "");
  const high = (signed ? "+" : "") + short(scale.high) + beyond;
  byId("part-low").textContent = shape ? low : `height ${low} to ${high}`;
  byId("part-high").textContent = shape ? high : "";
}

/* -- drawing ----------------------------------------------------------------------------------- */

const board = encoder && new Board(byId("board"), loadDrawing);

/* -- map --------------------------------------------------------------------------------------- */

const map =
  samples &&
  new SampleMap(byId("map"), takeColumns("points", samples.points), {
    onCursor: showTip,
    onChoose: (sample) => load(sample),
  });

function showTip(sample, x, y) {
  const tip = byId("tip");
  tip.hidden = sample === null;
  if (sample === null) return;
  const [picture, text] = tip.children;
  text.textContent = nameOf(sample);
  paint(picture, clean(sample), shape, valueScale);
  const right = x > map.width / 2;
  tip.style.left = right ? "auto" : `${x + 18}px`;
  tip.style.right = right ? `${map.width - x + 18}px` : "auto";
  tip.style.top = `${Math.min(Math.max(y - 60, 0), Math.max(map.height - 150, 0))}px`;
  if (document.activeElement === map.canvas) say(nameOf(sample));
}

function colorMap(by) {
  const about = samples.clustering;
  const isClusters = by === "clusters";
  const names = isClusters ? about.sizes.map((_, k) => lettersOf(k)) : samples.classes;
  const colors = isClusters ? about.colors : samples.classes.map((_, k) => k);
  map.color(by && samples[by], by ? colors : [], by ? names : []);
  byId("grouping-hint").textContent = groupingHint(by);
  byId("names").replaceChildren();
  if (!by) return;
  const counts = names.map((_, k) => samples[by].filter((group) => group === k).length);
  names.slice(0, 30).forEach((name, k) => {
    const item = make("li");
    const key = item.appendChild(make("canvas", "", { width: 28, height: 28 }));
    const context = key.getContext("2d");
    const { color, marker } = styleOf(colors[k]);
    context.fillStyle = color;
    context.strokeStyle = css("outline");
    context.beginPath();
    tracePath(context, marker, 14, 14, 9);
    context.fill();
    context.stroke();
    item.append(make("span", name), make("small", ` ${counts[k]}`));
    byId("names").append(item);
  });
  if (names.length > 30) byId("names").append(make("li", `and ${names.length - 30} more`));
}

function groupingHint(by) {
  const unseen = "Labels were used neither in training nor in clustering.";
  if (by === "labels") return `Coloured by label. ${unseen}`;
  if (by !== "clusters") return "";
  const { method, sizes, scores } = samples.clustering;
  const words = [`Coloured by cluster: ${method} found ${sizes.length} clusters in H.`];
  if (samples.labels) {
    const found = Object.entries(scores).map(([name, value]) => {
      return `${name.toUpperCase()} ${value.toFixed(2)}`;
    });
    words.push(
      unseen,
      `We use them only here: each cluster has the colour of the label it is matched to, and the ` +
        `clustering scores ${found.join(", ")}.`,
    );
  }
  return words.join(" ");
}

/* -- the page as a whole ------------------------------------------------------------------------ */

/* Redraw everything that has colours of the theme. */
function redrawAll() {
  legendShown = "";
  shown = { clean: null, nearest: null };
  if (samples) {
    samples.strip.forEach((sample, k) => paint(strip.canvas(k), clean(sample), shape, valueScale));
    colorMap(document.querySelector("input[name=grouping]:checked")?.value ?? null);
  }
  paintParts();
  redraw();
}

const F_NAMES = { identity: "", relu: "ReLU", sigmoid: "\u03c3", tanh: "tanh", softplus: "softplus" };

/* Set titles, equations and notes, which depend on the run but not on the state. */
function setUpTexts() {
  const { facts, base, layers } = content;
  const epochs = `${facts.epochs} ${facts.epochs === 1 ? "epoch" : "epochs"}`;
  byId("facts").textContent =
    `The student after ${epochs}, objective ${facts.objective}. ` +
    `The orange layers run in this page${encoder ? ", and for drawings all others" : ""}.`;
  byId("first-text").textContent =
    "Drag a slider of H: the student decodes the changed code at once." +
    (samples ? ` Choose another sample above or on the map${encoder ? ", or draw one," : ""} to begin from its code.` : "");
  facts.widths.forEach((width, number) => {
    const half = facts.depth / 2;
    const item = make("li", String(width));
    const names = { [half]: "X", [half + 1]: "H", [half + 2]: "X\u0302" };
    const name =
      number === 0 ? "x" : number === facts.widths.length - 1 ? "x\u0302" : names[number];
    if (name) item.prepend(make("var", name), " ");
    if (number === half + 1) item.className = "here";
    if (number > half + 1) item.className = "live";
    byId("flow").append(item);
  });
  byId("base-f").textContent = F_NAMES[base.activation];
  byId("recovery-f").textContent = F_NAMES[layers[0].activation];
  if (!base.bias) byId("base-bias").remove();
  const kind = shape ? "image" : "sample";
  byId("code-hint").textContent =
    `${rank} base units. ` +
    (samples
      ? `Drag a slider. The tick is this ${kind}'s own value; the grey band covers 90 % of all ${kind}s.`
      : "Drag a slider. This page has no samples, so all units start in the middle.");
  byId("notes").hidden = content.notes.length === 0;
  byId("notes").append(...content.notes.map((text) => make("li", text)));
  byId("reading").hidden = units.quantiles === null;
  gallery.tiles.forEach((tile, k) => {
    const dead = units.dead?.[k];
    if (dead) tile.classList.add("dead");
    tile.append(make("span", `unit ${k}${dead ? ", dead" : ""}`));
    for (const [name, value] of (content.tops?.[k] ?? []).slice(0, 3)) {
      const text = `${value < 0 ? "\u2212" : "+"} ${name}`;
      tile.append(make("small", text, { title: text }));
    }
  });
  document.body.classList.toggle("bars", shape === null);
  document.body.classList.toggle("sampled", samples !== null);
  document.body.classList.toggle("draws", encoder !== null);
  if (shape) document.body.style.setProperty("--aspect", `${shape[1]} / ${shape[0]}`);
  if (samples) setUpSampleTexts();
}

function setUpSampleTexts() {
  const { split, total, index } = samples;
  const kind = split === "test" ? "test" : "training";
  byId("choose-title").textContent = `Choose a ${kind} ${shape ? "image" : "sample"}`;
  byId("choose-hint").textContent =
    `${samples.strip.length} of ${total.toLocaleString("en")}, chosen without using labels`;
  byId("map-hint").textContent =
    `${index.length} samples by their codes H, laid out by ${samples.map}` +
    (samples.map === "t-SNE" ? ". Neighbours mean something; axes and large distances do not. " : ". ") +
    "The orange ring marks the sample whose code is nearest to the sliders.";
  strip.tiles.forEach((tile, k) => tile.setAttribute("aria-label", nameOf(samples.strip[k])));
  const kinds = [
    ["by-cluster", samples.clusters],
    ["by-label", samples.labels],
  ];
  for (const [id, groups] of kinds) byId(id).hidden = groups === null;
  byId("grouping").hidden = samples.clusters === null || samples.labels === null;
  const first = kinds.find(([, groups]) => groups !== null);
  if (first) byId(first[0]).querySelector("input").checked = true;
}

function setUp() {
  setUpTexts();
  setUpTheme(redrawAll, stopWalk);
  for (const id of ["main", "footer"]) byId(id).hidden = false;
  for (const id of ["choose", "places", "clean", "nearest"]) byId(id).hidden = samples === null;
  byId("draw").hidden = encoder === null;
  board?.reset(shape);
  byId("clear").addEventListener("click", () => {
    if (samples) return load(addressed(), false);
    board.reset(shape);
    startAt(null, null, new Float32Array(rank).fill(middle));
  });
  byId("first").hidden = location.hash !== "";
  window.addEventListener("hashchange", () => samples && load(addressed()));
  byId("first-done").addEventListener("click", () => (byId("first").hidden = true));
  byId("reading").addEventListener("change", (event) => showParts(event.target.value));
  byId("grouping").addEventListener("change", (event) => colorMap(event.target.value));
  selectUnit(0);
  if (samples) load(addressed(), false);
  redrawAll();
  showParts("alone");
  // Bars depend on the number of pixels of their canvas.
  if (!shape) new ResizeObserver(redrawAll).observe(byId("main"));
  requestAnimationFrame(() => {
    timings.open = performance.now();
  });
}

setUp();
