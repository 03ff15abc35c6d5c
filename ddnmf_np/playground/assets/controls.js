"use strict";

/* Controls for options: selects, sliders, switches, and the loss table. */

/* The places of a slider of weights: 0, then 0.001 to 10 in tenths of a decade. */
const WEIGHTS = [0, ...Array.from({ length: 41 }, (_, k) => Number((10 ** ((k - 30) / 10)).toPrecision(3)))];
const RATES = Array.from({ length: 41 }, (_, k) => Number((10 ** ((k - 40) / 10)).toPrecision(3)));
const SHARES = Array.from({ length: 19 }, (_, k) => k / 20);
const RANKS = Array.from({ length: content.most_rank }, (_, k) => k + 1);

const SLIDERS = {
  lr: ["learning rate \u03c1 (8)", RATES],
  noise_rate: ["noise rate (2)", SHARES],
  rank: ["rank of H", RANKS],
};

const SELECTS = {
  optimizer: ["descent", { adam: "Adam", gd: "plain (8)" }],
  noise_kind: ["noise", { masking: "masking", gaussian: "gaussian", none: "none" }],
  reduction: ["over the features", { sum: "sum (paper)", mean: "mean (demo)" }],
};

const SWITCHES = {
  apposition_to_supervisor: "L_ap moves the supervisor too (demo)",
  base_bias: "bias in the base (demo)",
  noise_redraw: "new noise each epoch",
};

/* Rows of the loss table: the option of the weight, its symbol, what is compared, what it trains. */
const ROWS = {
  sym: ["alpha_sym", "\u03b1", "L_sym (4): y and x", "trains supervisor"],
  ap: ["beta_ap", "\u03b2", "L_ap (5): partners", "trains student"],
  nc: ["gamma_nc", "\u03b3", "L_nc (6): X and X\u0302", "trains student"],
  rec: ["student_reconstruction", "", "L_rec: output and x", "trains student"],
};

/* Build the controls; `change(key, value)` returns whether the change was made. */
class Controls {
  constructor(change) {
    this.change = change;
    this.updates = {}; // by option: shows its value
    this.kept = {}; // weights of rows that are switched off
    for (const [key, [text, places]] of Object.entries(SLIDERS)) this.addSlider(byId("fields"), key, text, places);
    for (const [key, [text, choices]] of Object.entries(SELECTS)) this.addSelect(byId("fields"), key, text, choices);
    for (const [key, text] of Object.entries(SWITCHES)) this.addSwitch(byId("switches"), key, text);
    for (const [loss, row] of Object.entries(ROWS)) this.addRow(loss, row);
  }

  /* Show the values of all options. */
  show(options) {
    for (const [key, update] of Object.entries(this.updates)) update(options[key]);
    this.showsApposition(options.apposition_to_supervisor);
  }

  set(key, value) {
    if (!this.change(key, value)) this.show(this.options());
  }

  addSlider(element, key, text, places) {
    const label = element.appendChild(make("label", "", { class: "slide" }));
    label.append(make("span", text));
    this.slider(label, key, text, places);
  }

  slider(element, key, text, places) {
    const input = make("input", "", { type: "range", id: `option-${key}`, min: 0, max: places.length - 1 });
    input.setAttribute("aria-label", text);
    const output = make("output", "");
    element.append(input, output);
    input.addEventListener("input", () => this.set(key, places[Number(input.value)]));
    this.updates[key] = (value) => {
      const distance = places.map((place) => Math.abs(place - value));
      input.value = distance.indexOf(Math.min(...distance));
      output.textContent = written(value);
      input.setAttribute("aria-valuetext", written(value));
    };
  }

  addSelect(element, key, text, choices) {
    const label = element.appendChild(make("label", ""));
    label.append(make("span", text));
    const select = label.appendChild(make("select", "", { id: `option-${key}` }));
    fill(select, choices);
    select.addEventListener("change", () => this.set(key, select.value));
    this.updates[key] = (value) => (select.value = value);
  }

  addSwitch(element, key, text) {
    const label = element.appendChild(make("label", "", { class: "check" }));
    const input = label.appendChild(make("input", "", { type: "checkbox", id: `option-${key}` }));
    label.append(" ", text);
    input.addEventListener("change", () => this.set(key, input.checked));
    this.updates[key] = (value) => (input.checked = value);
  }

  /* A row: a switch, what the loss compares, its weight. */
  addRow(loss, [key, symbol, text, trains]) {
    const row = byId("table").appendChild(make("div", "", { class: "row" }));
    const label = row.appendChild(make("label", "", { class: "check" }));
    const input = label.appendChild(make("input", "", { type: "checkbox", id: `row-${loss}` }));
    label.append(" ", text);
    const who = row.appendChild(make("small", trains));
    if (loss === "ap") this.showsApposition = (both) => (who.textContent = both ? "trains both" : trains);
    const slide = row.appendChild(make("span", "", { class: "slide" }));
    slide.append(make("var", symbol));
    this.slider(slide, key, `weight of ${text}`, WEIGHTS);
    const showWeight = this.updates[key];
    this.updates[key] = (value) => {
      showWeight(value);
      input.checked = value > 0;
      row.classList.toggle("off", value === 0);
      if (value > 0) this.kept[key] = value;
    };
    input.addEventListener("change", () => this.set(key, input.checked ? (this.kept[key] ?? 1) : 0));
  }
}

/* Fill a select with { value: text }. */
function fill(select, choices) {
  select.replaceChildren(...Object.entries(choices).map(([value, text]) => make("option", text, { value })));
}
