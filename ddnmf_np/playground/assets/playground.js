"use strict";

/* The page: one state, one model that trains, and one function, render(), that shows both.
 *
 *     state     what the address says, see state.js
 *     trainer   the model that trains, its data, and where the run is
 *     display   a copy of the model that runs the chosen image by itself
 *     at        the last event of an iteration that is done layer by layer, or null
 */

const BUDGET = 10; // milliseconds of training in a frame, so that no frame waits for it
const CHECK_BUDGET = 4; // the same for the gradient check
const CHECK_EVERY = 700; // milliseconds between the starts of two checks during training
const SLOW = 450; // milliseconds between two layers in slow motion
const still = window.matchMedia("(prefers-reduced-motion: reduce)");

let state = defaultState();
let trainer = null;
let display = null;
let gallery = null; // runs the student on the images of the sample buttons
let at = null;
let playing = false;
let target = null; // a number of steps to reach, then stop
let runs = []; // { steps, options }: what "Copy as Python" repeats
let records = []; // the losses of each step
let bugged = false; // whether a step was done with a bug
let own = null; // the drawn digit while the pictures show it
let check = null; // the gradient check that runs, block by block
let report = {};
let checked = -Infinity; // when it began
let checkedSteps = null; // and after how many steps
let address = ""; // the fragment that was read or written last
let speed = 0; // steps per second
let [lastFrame, lastSlow, lastRender, lastAddress] = [0, 0, 0, 0];
let scheduled = false;
let dirty = true;

/* -- data -------------------------------------------------------------------------------------- */

const datasets = {};

/* Return a data set; its bytes are unpacked once. */
function dataOf(name) {
  if (datasets[name]) return datasets[name];
  const { n, shape, top, labels } = content.sets[name];
  const text = atob(byId(`block-${name}`).textContent);
  const x = Float64Array.from({ length: text.length }, (_, k) => text.charCodeAt(k) / top);
  const high = x.reduce((a, b) => Math.max(a, b), 0);
  datasets[name] = { x, n, features: shape[0] * shape[1], shape, labels, high };
  return datasets[name];
}

/* Return the chosen image, clean and as the student sees it. */
function chosen() {
  const { data } = trainer;
  const { features } = data;
  const x = own ?? data.x.subarray(state.sample * features, (state.sample + 1) * features);
  const noisy = new Float64Array(features);
  trainer.noise.apply(x, own ? 0 : state.sample, trainer.epoch, noisy);
  return { supervisor: x, student: noisy };
}

/* -- what the controls do ------------------------------------------------------------------------ */

/* Begin a new run; `changes` are parts of the state. */
function restart(changes = {}) {
  pause();
  Object.assign(state, changes, { steps: 0 });
  const data = dataOf(state.data);
  if (state.sample >= data.n) state.sample = 0;
  const model = new Model(data.features, optionsOf(state));
  trainer = new Trainer(model, data);
  [at, own, bugged, records, target] = [null, null, false, [], null];
  runs = [{ steps: 0, options: { objective: state.preset, ...state.changes } }];
  diagram.build(model);
  board.reset(data.shape);
  plantBug(state.bug);
  controls.show(model.options);
  byId("preset").value = state.preset;
  byId("data").value = state.data;
}

/* Change an option; return whether it was possible. */
function change(key, value) {
  const options = { ...optionsOf(state), [key]: value };
  const problem = untrained(options);
  if (problem) {
    note(problem);
    return false;
  }
  byId("notes").hidden = true;
  if (value === content.presets[state.preset][key]) delete state.changes[key];
  else state.changes[key] = value;
  if (RESTARTS.has(key)) {
    const going = playing;
    restart();
    if (going) play();
    return true;
  }
  if (trainer.running) finishIteration();
  trainer.model.change(options);
  trainer.setNoise();
  const last = runs.at(-1);
  if (last.steps === 0) last.options[key] = value;
  else runs.push({ steps: 0, options: { [key]: value } });
  plantBug(state.bug); // the table may have no place for it any more
  controls.show(options);
  return true;
}

/* Plant a bug, [name, net, layer], or remove it with null. */
function plantBug(bug) {
  const { model } = trainer;
  if (bug && !possible(bug)) bug = null;
  state.bug = bug;
  bugged ||= bug !== null && trainer.running !== null;
  plantIn(model, ...(bug ?? [null]));
  display = model.copy(1);
  gallery = model.copy(samples.length).student;
  byId("bug").value = bug ? bug[0] : "";
  fillPlaces();
  byId("bug-text").textContent = bug ? BUGS[bug[0]].text : "";
  look(...state.look, state.unit);
  startCheck();
}

/* Return whether a bug can be planted in this model, there. */
function possible([name, net, l]) {
  if (name === "leak") return !trainer.model.options.apposition_to_supervisor && trainer.model.options.beta_ap > 0;
  return l <= trainer.model.nets[net].depth && fits(trainer.model, name, net, l);
}

/* Offer the layers that can have the chosen bug. */
function fillPlaces() {
  const name = byId("bug").value;
  const { model } = trainer;
  const places = {};
  for (const net of NETS) {
    for (let l = 1; l <= model.nets[net].depth; l++) {
      if (name && name !== "leak" && fits(model, name, net, l)) {
        places[`${net}.${l}`] = `${net}, layer ${l}: ${nameOf(net, l, model.depth)}`;
      }
    }
  }
  if (name === "leak") places["supervisor.1"] = "all of the supervisor";
  byId("bug-place").disabled = name === "";
  fill(byId("bug-place"), name ? places : { "": "no layer" });
  if (state.bug) byId("bug-place").value = `${state.bug[1]}.${state.bug[2]}`;
}

/* Choose the bug of the select, in the layer that is looked at if that can have it. */
function chooseBug() {
  const name = byId("bug").value;
  if (!name) return plantBug(null);
  if (name === "leak") {
    if (possible(["leak", "supervisor", 1])) return plantBug(["leak", "supervisor", 1]);
    note("This bug needs an apposition loss that does not train the supervisor; take the preset paper.");
    return plantBug(null);
  }
  fillPlaces();
  const places = [...byId("bug-place").options].map((element) => element.value);
  const here = state.look.join(".");
  const [net, l] = (places.includes(here) ? here : places[0]).split(".");
  return plantBug([name, net, Number(l)]);
}

/* Show a layer in the inspector. */
function look(net, l, unit = 0) {
  const { model } = trainer;
  if (l > model.nets[net].depth) [net, l] = defaultState().look;
  state.look = [net, l];
  inspector.select(model, net, l);
  lookAtUnit(Math.min(unit, layerOf(model, net, l).outputs - 1));
}

function lookAtUnit(unit) {
  state.unit = unit;
  byId("unit").value = unit;
  byId("unit-number").textContent = unit;
  touch();
}

function choose(sample) {
  [own, state.sample] = [null, sample];
  touch();
}

function play() {
  playing = true;
  if (!byId("slow").checked) at = null;
  showPlaying();
  touch();
}

function pause() {
  playing = false;
  target = null;
  showPlaying();
  touch();
}

function showPlaying() {
  byId("play").textContent = playing ? "Pause" : "Play";
  byId("play").setAttribute("aria-pressed", String(playing));
  byId("first").hidden ||= playing;
}

/* Show a message in words; it stays until the next one. */
function note(text) {
  byId("notes").hidden = false;
  byId("notes").replaceChildren(make("li", text));
  say(text);
}

/* -- training ------------------------------------------------------------------------------------ */

/* Write down the iteration that has just ended. */
function finished() {
  const { model } = trainer;
  runs.at(-1).steps += 1;
  state.steps = runs.length === 1 ? trainer.steps : 0; // an address cannot say when options changed
  bugged ||= state.bug !== null;
  records.push(model.losses);
  if (!Number.isFinite(model.losses.total)) {
    pause();
    note(`Training diverged in step ${trainer.steps}: the loss is not finite. Choose a smaller learning rate \u03c1, then press Restart.`);
  }
}

function finishIteration() {
  trainer.step();
  at = null;
  finished();
}

/* Whether a schedule that ends has ended. */
function over() {
  return trainer.model.options.lr_schedule !== "constant" && trainer.progress >= 1;
}

/* Do a step if there is one left. */
function step() {
  if (over()) {
    pause();
    note(`The schedule of the learning rate has ended after ${trainer.steps} steps. Press Restart to train again.`);
    return;
  }
  finishIteration();
  if (target !== null && trainer.steps >= target) pause();
}

/* Go on to the next layer, or to the next event that is wanted. */
function stepLayer(wanted) {
  if (over()) return step();
  at = trainer.advance(wanted);
  if (at.line === "descend") {
    trainer.advance(); // ends the iteration
    finished();
  }
  touch();
}

/* Go on to the next part of g, or to the end of a layer that has all of them, and look there. The
 * backward phase begins at the layer that is looked at; the layers above it are done at once. */
function stepTerm() {
  const back = ({ line }) => line.endsWith("-back");
  const begun = at !== null && back(at);
  const [net, l] = state.look;
  stepLayer((event) => event.line === "descend" || (back(event) && (begun || (event.net === net && event.layer === l))));
  if (at?.layer) look(at.net, at.layer, state.unit);
}

/* -- the gradient check, block by block ------------------------------------------------------------ */

function startCheck() {
  const { data, model, epoch } = trainer;
  const n = Math.min(5, data.n);
  const x = data.x.slice(0, n * data.features);
  const noisy = new Float64Array(x.length);
  for (let i = 0; i < n; i++) {
    const [from, to] = [i * data.features, (i + 1) * data.features];
    trainer.noise.apply(x.subarray(from, to), i, epoch, noisy.subarray(from, to));
  }
  check = checkBlocks(model, x, noisy, n);
  [checked, checkedSteps, report] = [performance.now(), trainer.steps, {}];
  touch();
}

/* Check blocks until the budget of this frame is used. */
function goOnChecking() {
  const until = performance.now() + CHECK_BUDGET;
  while (check && performance.now() < until) {
    const { value, done } = check.next();
    if (done) check = null;
    else report[value[0]] = value[1];
  }
}

function showCheck() {
  const blocks = Object.entries(report);
  const total = NETS.flatMap((net) => trainer.model.nets[net].layers.flatMap((layer) => layer.names)).length;
  const wrong = blocks.filter(([, { verdict }]) => verdict === "wrong").map(([name]) => name);
  const unsure = blocks.filter(([, { verdict }]) => verdict === "kink" || verdict === "zero").length;
  const text = check
    ? `Checking: ${blocks.length} of ${total} blocks.`
    : wrong.length
      ? `Wrong gradient in ${wrong.length} of ${total} blocks: ${wrong.join(", ")}.`
      : `${total - unsure} of ${total} blocks pass${unsure ? `; ${unsure} have no gradient to compare` : ""}.`;
  byId("check-result").textContent = text;
  byId("check-result").classList.toggle("wrong", wrong.length > 0);
}

/* -- showing it ------------------------------------------------------------------------------------ */

/* Draw the page in the next frame. */
function touch() {
  dirty = true;
  schedule();
}

function schedule() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(frame);
}

function frame(now) {
  scheduled = false;
  const before = trainer.steps;
  if (playing && byId("slow").checked && target === null) {
    if (now - lastSlow > SLOW) {
      lastSlow = now;
      stepLayer((event) => !event.parts || (event.net === state.look[0] && event.layer === state.look[1]));
    }
    dirty ||= growing(now) !== undefined;
  } else if (playing) {
    const until = performance.now() + BUDGET;
    do step();
    while (playing && performance.now() < until);
    dirty = true;
  }
  const seconds = Math.max(1e-3, (now - lastFrame) / 1000);
  if (playing) speed += Math.min(1, seconds * 2) * ((trainer.steps - before) / seconds - speed);
  lastFrame = now;
  if (!check && checkedSteps !== trainer.steps && now - checked > CHECK_EVERY) startCheck();
  if (check) {
    goOnChecking();
    if (!check) dirty = true;
  }
  // With reduced motion the pictures change twice a second at most while training goes on.
  if (dirty && !(still.matches && playing && now - lastRender < 500)) {
    [dirty, lastRender] = [false, now];
    render(now);
  }
  if (playing || check || checkedSteps !== trainer.steps || dirty) schedule();
}

function render(now) {
  const { model, data } = trainer;
  const xs = chosen();
  for (const net of NETS) display.nets[net].arena.flat.set(model.nets[net].arena.flat);
  display.forward(xs.supervisor, xs.student, 1);
  const values = termValues(display, xs.supervisor);
  display.backward(xs.supervisor, 1);
  diagram.show(display, xs, at, state.look);
  diagram.showLosses(values);
  diagram.showLamps(report);
  showCheck();
  // While a person goes through a backward pass, the bars grow beside the buttons.
  const stepping = at !== null && at.line.endsWith("-back") && !playing;
  byId(stepping ? "model" : "parts-place").append(byId("parts"));
  inspector.show(display, model, xs.supervisor, state.unit, at, growing(now));
  showLines();
  showStatus();
  showSamples();
  showCurve();
  showOwn();
  const bug = state.bug && state.bug[1] === state.look[0] && state.bug[2] === state.look[1] ? state.bug : null;
  byId("bug-here").hidden = bug === null;
  if (bug) byId("bug-here").textContent = `Bug planted here: ${BUGS[bug[0]].name}. ${BUGS[bug[0]].text}`;
  if (!playing || now - lastAddress > 1000) {
    lastAddress = now;
    writeAddress();
  }
}

/* Return the share of the outer products that slow motion shows while the layer that we look at is
 * run backward; undefined leaves it to the slider. */
function growing(now) {
  const here = at !== null && at.net === state.look[0] && at.layer === state.look[1] && at.line.endsWith("-back") && !at.parts;
  return playing && here && !still.matches ? Math.min(1, (now - lastSlow) / (0.8 * SLOW)) : undefined;
}

/* Put the state into the address, unless someone has just changed the address. */
function writeAddress() {
  const fragment = toFragment(state);
  const bare = address === "" && fragment === toFragment(defaultState());
  if (location.hash !== address || fragment === address || bare) return;
  history.replaceState(null, "", fragment);
  address = location.hash;
}

/* Return the loss of each pair of the table for one image, by the keys of the diagram's tags. */
function termValues({ loss }, x) {
  const values = {};
  for (const term of loss.terms) {
    const [a, b] = [loss.read(term.a, x), loss.read(term.b, x)];
    let sum = 0;
    for (let k = 0; k < loss.nets[term.a[0]].layers[term.a[1] - 1].outputs; k++) sum += (a[k] - b[k]) ** 2;
    values[term.loss === "ap" ? `ap${term.b[1]}` : term.loss] = sum * loss.scale(term, 1);
  }
  return values;
}

/* The lines of algorithm 1, with the numbers of the equations; the backward passes start from the
 * losses that train the network. */
const LINES = {
  batch: () => "Draw a mini-batch of clean images x",
  noise: () => "Corrupt it: x\u0303 = x + \u03b5 (2)",
  supervisor: () => "Supervisor forward (1)",
  student: () => "Student forward, with H and X\u0302 (1, 3)",
  losses: () => "Compute the losses (4\u20137)",
  "supervisor-back": (terms) => `Supervisor backward, from ${lossesOf(terms, "supervisor")} (9)`,
  "student-back": (terms) => `Student backward, from ${lossesOf(terms, "student")} (10)`,
  descend: () => "Descend: \u03b8 \u2190 \u03b8 \u2212 \u03c1 \u2202L/\u2202\u03b8 (8)",
};

function lossesOf(terms, net) {
  const trains = terms.filter(({ moves }) => moves.some((signal) => signal[0] === net));
  return [...new Set(trains.map(({ loss }) => LOSS_NAMES[loss][0]))].join(", ") || "no loss";
}

function showLines() {
  const { terms } = trainer.model.loss;
  for (const item of byId("lines").children) {
    item.textContent = LINES[item.dataset.line](terms);
    const now = at !== null && item.dataset.line === at.line;
    if (now) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  }
}

function showStatus() {
  const { model, epoch, steps } = trainer;
  const words = [`step ${steps}`, `epoch ${epoch + 1}`, `\u03c1 ${written(model.descent.rate(trainer.progress))}`];
  if (playing && target !== null) words.push(`training to step ${target}`);
  else if (playing && !byId("slow").checked) words.push(`${Math.round(speed)} steps/s`);
  byId("status").textContent = words.join(" \u00b7 ");
}

function showCurve() {
  drawCurves(byId("losses"), records);
  const last = records.at(-1) ?? {};
  for (const item of byId("loss-names").children) {
    const value = last[item.dataset.loss];
    item.querySelector("output").textContent = value === undefined ? "off" : written(value);
  }
}

/* -- buttons of images: one of each digit, with its code -------------------------------------------- */

let samples = []; // { button, picture, code, label, sample }

function buildSamples() {
  byId("samples").replaceChildren();
  samples = Array.from({ length: 10 }, (_, label) => {
    const button = make("button", "", { type: "button", "aria-label": `an image of ${label}; again for the next` });
    const [picture, code] = [0, 1].map(() => button.appendChild(make("canvas", "", { "aria-hidden": "true" })));
    const entry = { button, picture, code, label, sample: null };
    button.addEventListener("click", () => {
      const { labels } = trainer.data;
      const again = own === null && state.sample === entry.sample;
      const from = again ? entry.sample + 1 : (entry.sample ?? 0);
      const next = labels.indexOf(label, from);
      choose(next < 0 ? labels.indexOf(label) : next);
    });
    byId("samples").append(button);
    return entry;
  });
}

function showSamples() {
  const { data, model } = trainer;
  const { features, labels } = data;
  for (const entry of samples) {
    if (labels[state.sample] === entry.label) entry.sample = state.sample;
    if (entry.sample === null || labels[entry.sample] !== entry.label) entry.sample = labels.indexOf(entry.label);
  }
  const x = new Float64Array(samples.length * features);
  samples.forEach(({ sample }, k) => x.set(data.x.subarray(sample * features, (sample + 1) * features), k * features));
  const half = model.depth / 2 + 1;
  gallery.arena.flat.set(model.student.arena.flat);
  gallery.start(x);
  for (let l = 1; l <= half; l++) gallery.forwardLayer(l, samples.length);
  const rank = model.options.rank;
  samples.forEach(({ button, picture, code, sample }, k) => {
    paintValues(picture, x.subarray(k * features, (k + 1) * features), data.shape, 1);
    paintValues(code, gallery.h[half].subarray(k * rank, (k + 1) * rank), gridOf(rank), 1);
    button.setAttribute("aria-pressed", String(own === null && sample === state.sample));
  });
}

function showOwn() {
  const shown = own !== null;
  const { model } = trainer;
  const half = model.depth / 2 + 1;
  const size = model.features;
  const output = shown ? display.student.h[model.depth + 2] : new Float64Array(size);
  const H = shown ? display.student.h[half] : new Float64Array(model.options.rank);
  paintValues(byId("rebuilt"), output.subarray(0, size), trainer.data.shape, 1);
  paintBars(byId("own-code"), H, { low: 0, high: 1, signed: false });
}

/* -- copying ------------------------------------------------------------------------------------ */

function pythonOf() {
  const text = toPython(state.data, runs, trainer.model.losses);
  return bugged ? `# Steps of this run had a planted bug; Python does them without it.\n${text}` : text;
}

/* Show a text, selected, and put it on the clipboard if the browser lets us. */
async function copy(text, what) {
  const area = byId("copied");
  area.hidden = false;
  area.value = text;
  area.focus();
  area.select();
  try {
    await navigator.clipboard.writeText(text);
    say(`${what} copied.`);
  } catch {
    say(`${what} shown and selected; press Ctrl+C to copy.`);
  }
}

/* -- setting up ------------------------------------------------------------------------------------ */

/* Read the state from the address; a state that cannot be used gives a message and the default. */
function readAddress() {
  address = location.hash;
  try {
    state = fromFragment(location.hash);
  } catch (error) {
    state = defaultState();
    note(`The address cannot be used: ${error.message}. The page shows its default.`);
  }
  for (const name of SECTIONS) byId(name === "tour" ? "start-tour" : name).hidden = state.hide.includes(name);
  const { steps, bug } = state;
  restart();
  if (bug && !state.bug) note(`The bug of the address, ${bug.join(".")}, has no place in this model; the page has none.`);
  if (steps) {
    target = steps;
    playing = true;
    showPlaying();
  }
}

function setUpButtons() {
  const shortcuts = { p: "play", b: "one-batch", l: "one-layer", t: "one-term", r: "restart" };
  byId("play").addEventListener("click", () => (playing ? pause() : play()));
  byId("one-batch").addEventListener("click", () => {
    pause();
    step();
    touch();
  });
  for (const [id, go] of [["one-layer", stepLayer], ["one-term", stepTerm]]) {
    byId(id).addEventListener("click", () => {
      pause();
      go();
    });
  }
  byId("restart").addEventListener("click", () => {
    byId("notes").hidden = true;
    restart();
  });
  byId("slow").addEventListener("change", touch);
  byId("unit").addEventListener("input", () => lookAtUnit(Number(byId("unit").value)));
  byId("bug").addEventListener("change", chooseBug);
  byId("bug-place").addEventListener("change", () => {
    const [net, l] = byId("bug-place").value.split(".");
    plantBug([byId("bug").value, net, Number(l)]);
  });
  byId("clear").addEventListener("click", () => {
    board.reset(trainer.data.shape);
    choose(state.sample);
  });
  byId("copy-python").addEventListener("click", () => copy(pythonOf(), "Python"));
  byId("copy-link").addEventListener("click", () => copy(location.href.split("#")[0] + toFragment(state), "Link"));
  byId("first-done").addEventListener("click", () => (byId("first").hidden = true));
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") tour.end();
    const typing = event.target.closest("select, textarea, #board");
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const id = shortcuts[event.key.toLowerCase()];
    if (id) byId(id).click();
  });
  window.addEventListener("hashchange", () => {
    if (location.hash !== address) readAddress();
  });
  new ResizeObserver(touch).observe(byId("main"));
}

function setUpTexts() {
  byId("facts").textContent =
    "Deep denoising NMF: the supervisor (blue) sees clean images, the student (orange) noisy ones. " +
    "Forward, backward and descent run in this page, in float64.";
  byId("legend").textContent =
    "Grey: outputs. Red and blue: signals above and below 0. Dotted: partners that L_ap compares. " +
    "Numbers are losses of the chosen image.";
  for (const line of Object.keys(LINES)) byId("lines").append(make("li", "", { "data-line": line }));
  for (const [loss, [name, color]] of Object.entries(LOSS_NAMES)) {
    const item = make("li", "", { "data-loss": loss, class: `loss-${color}` });
    item.append(make("i"), name, " ", make("output", ""));
    byId("loss-names").append(item);
  }
  const names = Object.fromEntries(Object.entries(BUGS).map(([key, { name }]) => [key, name]));
  fill(byId("bug"), { "": "no bug", ...names });
  const sets = { digits: "digits, 8 \u00d7 8", mnist: "MNIST, 14 \u00d7 14" };
  const found = Object.keys(content.sets).map((name) => [name, sets[name]]);
  addChoice("preset", "preset", Object.fromEntries(Object.keys(content.presets).map((name) => [name, name])));
  addChoice("data", "data", Object.fromEntries(found));
  byId("preset").addEventListener("change", () => restart({ preset: byId("preset").value, changes: {} }));
  byId("data").addEventListener("change", () => restart({ data: byId("data").value, sample: 0 }));
}

/* Add a select for a part of the state that is no option, before the controls of options. */
function addChoice(id, text, choices) {
  const label = byId("fields").appendChild(make("label", ""));
  label.append(make("span", text));
  fill(label.appendChild(make("select", "", { id })), choices);
}

setUpTexts();
const diagram = new Diagram(byId("diagram"), (net, l) => look(net, l));
const inspector = new Inspector();
const controls = new Controls(change);
controls.options = () => optionsOf(state);
const board = new Board(byId("board"), (values) => {
  own = values;
  touch();
});
buildSamples();
const tour = new Tour({ look, play, restart });
for (const id of ["main", "footer"]) byId(id).hidden = false;
byId("first").hidden = location.hash !== "";
setUpTheme(touch, pause);
setUpButtons();
readAddress();
