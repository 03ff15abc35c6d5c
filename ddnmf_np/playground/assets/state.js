"use strict";

/* The state of the page, and its form in the address, such as
 *
 *     #v=1&preset=demo&rank=6&beta_ap=0&look=student.3&steps=200
 *
 * Options have the package's short names; those of the preset are left out. A state that cannot be
 * used gives a message and the page as it opens without one.
 */

const content = JSON.parse(byId("content").textContent);

const VERSION = "1";
const MOST_STEPS = 20000;
const SECTIONS = ["inspector", "algorithm", "curve", "settings", "bugs", "draw", "python", "tour"];

/* Options that an address or a control may change: the values each may have. */
const CHOICES = {
  alpha_sym: { least: 0, most: 10 },
  beta_ap: { least: 0, most: 10 },
  gamma_nc: { least: 0, most: 10 },
  student_reconstruction: { least: 0, most: 10 },
  lr: { least: 1e-6, most: 1 },
  noise_rate: { least: 0, most: 0.9 },
  rank: { least: 1, most: content.most_rank, whole: true },
  seed: { least: 0, most: 2 ** 32 - 1, whole: true },
  reduction: ["sum", "mean"],
  optimizer: ["adam", "gd"],
  noise_kind: ["masking", "gaussian", "none"],
  noise_redraw: [true, false],
  base_bias: [true, false],
  apposition_to_supervisor: [true, false],
};

/* Options whose change begins a new run; all others change the run as it goes on. */
const RESTARTS = new Set(["rank", "seed", "base_bias", "optimizer"]);

function defaultState() {
  return {
    preset: "stable",
    data: "digits",
    changes: {}, // options that differ from the preset's
    sample: 0,
    look: ["student", content.presets.paper.widths.length + 1], // H
    unit: 0,
    bug: null, // [name, net, layer]
    steps: 0,
    hide: [],
  };
}

/* Return all options of a state. */
function optionsOf({ preset, changes }) {
  return { ...content.presets[preset], ...changes };
}

/* Return a message if no loss trains the student, which the package refuses too; else null. */
function untrained({ beta_ap, gamma_nc, student_reconstruction }) {
  return beta_ap === 0 && gamma_nc === 0 && student_reconstruction === 0
    ? "No loss would train the student: keep one of L_ap, L_nc and L_rec."
    : null;
}

/* -- to and from the address ------------------------------------------------------------------- */

function toFragment(state) {
  const start = defaultState();
  const parts = { v: VERSION };
  for (const key of ["preset", "data"]) if (state[key] !== start[key]) parts[key] = state[key];
  Object.assign(parts, state.changes);
  if (state.sample) parts.sample = state.sample;
  parts.look = state.look.join(".");
  if (state.unit) parts.unit = state.unit;
  if (state.bug) parts.bug = state.bug.join(".");
  if (state.steps) parts.steps = state.steps;
  if (state.hide.length) parts.hide = state.hide.join(",");
  return "#" + new URLSearchParams(parts).toString();
}

/* Return the state of an address; throw an Error that says which part cannot be used. */
function fromFragment(fragment) {
  const parts = new Map(new URLSearchParams(fragment.replace(/^#/, "")));
  const state = defaultState();
  if (parts.size === 0) return state;
  const take = (key) => {
    const value = parts.get(key);
    parts.delete(key);
    return value;
  };
  const hide = take("hide");
  if (hide) state.hide = hide.split(",").map((name) => oneOf("hide", name, SECTIONS));
  if (parts.size === 0) return state;
  const version = take("v");
  if (version !== VERSION) {
    throw Error(`v is ${version ?? "missing"}; this page reads version ${VERSION}`);
  }
  state.preset = oneOf("preset", take("preset") ?? state.preset, Object.keys(content.presets));
  state.data = oneOf("data", take("data") ?? state.data, Object.keys(content.sets));
  state.sample = number("sample", take("sample") ?? "0", {
    least: 0,
    most: content.sets[state.data].n - 1,
    whole: true,
  });
  state.steps = number("steps", take("steps") ?? "0", { least: 0, most: MOST_STEPS, whole: true });
  const [look, unit, bug] = [take("look"), take("unit"), take("bug")];
  for (const [key, value] of parts) state.changes[key] = option(key, value);
  const preset = content.presets[state.preset];
  for (const key of Object.keys(state.changes)) {
    if (state.changes[key] === preset[key]) delete state.changes[key];
  }
  const problem = untrained(optionsOf(state));
  if (problem) throw Error(problem);
  if (look !== undefined) state.look = place("look", look);
  state.unit = number("unit", unit ?? "0", { least: 0, most: 1000, whole: true });
  if (bug !== undefined) {
    const [name, ...rest] = bug.split(".");
    state.bug = [oneOf("bug", name, Object.keys(BUGS)), ...place("bug", rest.join("."))];
  }
  return state;
}

function oneOf(key, value, choices) {
  if (!choices.includes(value)) throw Error(`${key} is "${value}"; choose one of ${choices.join(", ")}`);
  return value;
}

function number(key, text, { least, most, whole = false }) {
  const value = Number(text);
  const fits = text.trim() !== "" && value >= least && value <= most;
  if (!fits || (whole && !Number.isInteger(value))) {
    throw Error(`${key} is "${text}"; expected a ${whole ? "whole " : ""}number from ${least} to ${most}`);
  }
  return value;
}

function option(key, text) {
  if (!Object.hasOwn(CHOICES, key)) throw Error(`"${key}" is unknown`);
  const choices = CHOICES[key];
  if (!Array.isArray(choices)) return number(key, text, choices);
  const value = { true: true, false: false }[text] ?? text;
  return oneOf(key, value, choices);
}

/* Return [net, layer] of a text such as "student.3"; layer 0 is the input. */
function place(key, text) {
  const [net, l] = text.split(".");
  oneOf(key, net, NETS);
  const depth = 2 * content.presets.paper.widths.length + (net === "student" ? 2 : 0);
  return [net, number(key, l ?? "", { least: 1, most: depth, whole: true })];
}

/* -- as Python --------------------------------------------------------------------------------- */

/* Return lines that repeat a run: `history` is a list of { steps, options }. The last line is what
 * they print, as the page has it. */
function toPython(data, history, losses) {
  const literal = (value) => {
    if (typeof value === "boolean") return value ? "True" : "False";
    return JSON.stringify(value);
  };
  const dict = (options) =>
    `{${Object.entries(options).map(([key, value]) => `"${key}": ${literal(value)}`).join(", ")}}`;
  const lines = history.map(({ steps, options }) => `    (${steps}, ${dict(options)}),`);
  const found = Object.entries(losses ?? {}).map(
    ([name, value]) => `loss_${name === "total" ? "in" : name} ${Number(value.toPrecision(12))}`,
  );
  const steps = history.reduce((sum, part) => sum + part.steps, 0);
  return [
    "from ddnmf_np.playground.replay import replay",
    "",
    `run = replay("${data}", [`,
    ...lines,
    "])",
    "print(run)",
    `# ${[`step ${steps}`, ...found].join("  ")}`,
    "",
  ].join("\n");
}
