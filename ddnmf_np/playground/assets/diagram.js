"use strict";

/* Figure 1 of the paper: the supervisor above the student, partners one above the other. Each layer
 * is a button with its output, and below it g, f' and delta of the backward phase.
 */

const F_NAMES = { relu: "ReLU", sigmoid: "\u03c3", identity: "", tanh: "tanh", softplus: "softplus" };

/* Return the name of a layer's output, as the paper writes it. */
function nameOf(net, l, depth) {
  const tilde = net === "student" ? "h\u0303" : "h";
  if (l === 0) return net === "student" ? "x\u0303" : "x";
  if (net === "supervisor") return l === depth ? "y" : `h(${l})`;
  const half = depth / 2;
  return { [half]: "X", [half + 1]: "H", [half + 2]: "X\u0302", [depth + 2]: "x\u0302" }[l] ?? `${tilde}(${l})`;
}

/* Return the column of a layer: partners share one. */
function columnOf(net, l, depth) {
  return net === "supervisor" ? appositive(l, depth) : l;
}

class Diagram {
  constructor(element, onSelect) {
    Object.assign(this, { element, onSelect, cells: {}, tags: {} });
    element.addEventListener("keydown", (event) => this.onKey(event));
  }

  /* Build the elements for a model. */
  build(model) {
    this.depth = model.depth;
    this.cells = {};
    this.tags = {};
    this.element.replaceChildren();
    for (const net of NETS) {
      for (let l = 0; l <= model.nets[net].depth; l++) this.addCell(model, net, l);
    }
    const half = this.depth / 2;
    this.addTag("sym", { net: "supervisor", at: half + 1, span: 2 }, "L_sym", "from y to x");
    for (let l = 1; l <= this.depth; l++) {
      this.addTag(`ap${l}`, { net: "between", at: appositive(l, this.depth) }, "L_ap");
    }
    this.addTag("nc", { net: "below", at: half, span: 3 }, "L_nc", "from X to X\u0302");
    this.addTag("rec", { net: "below", at: this.depth + 2 }, "L_rec", "to x");
  }

  addCell(model, net, l) {
    const layer = l ? model.nets[net].layers[l - 1] : null;
    const cell = make(l ? "button" : "div", "", { class: `cell ${net}` });
    if (l) cell.type = "button";
    putAt(cell, net, columnOf(net, l, this.depth));
    const head = cell.appendChild(make("span", "", { class: "head" }));
    head.append(make("var", nameOf(net, l, this.depth)), " ");
    const width = layer ? layer.outputs : model.features;
    head.appendChild(make("small", layer ? `${F_NAMES[layer.activation]} ${width}` : String(width)));
    const lamp = layer ? head.appendChild(make("i", "", { class: "lamp" })) : null;
    const shape = gridOf(width);
    const picture = cell.appendChild(make("canvas", "", { class: "h", "aria-hidden": "true" }));
    const signals = cell.appendChild(make("span", "", { class: "signals" }));
    const canvases = {};
    for (const [key, text] of [["g", "g"], ["slope", "f\u2032"], ["delta", "\u03b4"]]) {
      if (!layer) continue;
      const box = signals.appendChild(make("span", " "));
      canvases[key] = box.appendChild(make("canvas", "", { "aria-hidden": "true" }));
      box.appendChild(make("small", text));
    }
    if (layer) cell.addEventListener("click", () => this.onSelect(net, l));
    this.element.append(cell);
    this.cells[`${net}.${l}`] = { cell, picture, canvases, lamp, shape, layer, net, l };
  }

  addTag(key, { net, at, span = 1 }, name, text = "") {
    const tag = make("p", "", { class: `tag ${net}` });
    putAt(tag, net, at, span);
    tag.append(make("b", name), " ", make("output", ""), text ? ` ${text}` : "");
    this.element.append(tag);
    this.tags[key] = tag;
  }

  /* Show the display model, run on the chosen image; `at` is the last event of an iteration that is
   * being done layer by layer, or null. */
  show(model, xs, at, selected) {
    for (const cell of Object.values(this.cells)) {
      const { net, l, layer, picture, canvases, shape } = cell;
      const high = l === 0 || l === model.nets[net].depth || layer?.activation === "sigmoid" ? 1 : undefined;
      paintValues(picture, l ? layerOf(model, net, l).h : xs[net], shape, high);
      const done = reached(model, at, net, l);
      cell.cell.classList.toggle("pending", l > 0 && !done.forward);
      cell.cell.classList.toggle("selected", selected[0] === net && selected[1] === l);
      const now = at !== null && at.net === net && at.layer === l;
      cell.cell.classList.toggle("now", now);
      if (!layer) continue;
      const { g, h, delta, activation } = layerOf(model, net, l);
      const { slope } = FUNCTIONS[activation];
      paintSigned(canvases.g, done.summing ? sumOf(partsOf(model, xs.supervisor, net, l).slice(0, done.summing)) : g, shape);
      paintValues(canvases.slope, h.map(slope), shape, activation === "sigmoid" ? 0.25 : 1);
      paintSigned(canvases.delta, delta, shape);
      cell.cell.classList.toggle("unsignalled", !done.backward && !done.summing);
      cell.cell.classList.toggle("summing", done.summing > 0);
      cell.cell.setAttribute("aria-pressed", String(selected[0] === net && selected[1] === l));
    }
  }

  /* Show the losses of the chosen image; a term that the table has not is faint. */
  showLosses(values) {
    for (const [key, tag] of Object.entries(this.tags)) {
      const value = values[key];
      tag.classList.toggle("absent", value === undefined);
      tag.querySelector("output").textContent = value === undefined ? "off" : written(value);
    }
  }

  /* Light the lamps from a report of the gradient check; blocks not yet checked are grey. */
  showLamps(report) {
    for (const { cell, lamp, layer, net, l } of Object.values(this.cells)) {
      if (!lamp) continue;
      const found = layer.names.map((name) => [name, report[`${net}.${name}`]]);
      const verdicts = found.map(([, block]) => block?.verdict ?? "waiting");
      const worst = ["wrong", "kink", "zero", "waiting", "ok"].find((v) => verdicts.includes(v));
      lamp.className = `lamp ${worst}`;
      const words = found.map(([name, block]) =>
        block ? `${name} ${block.verdict} (error ${written(block.error)})` : `${name} waiting`,
      );
      lamp.title = `gradient check: ${words.join("; ")}`;
      const what = { wrong: "gradient wrong", ok: "gradient checked" }[worst] ?? "gradient not checked";
      cell.setAttribute("aria-label", `${net} layer ${l}, ${cell.textContent}, ${what}`);
    }
  }

  /* Arrow keys go to the nearest layer in their direction. */
  onKey(event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const from = event.target.closest("button.cell");
    if (!from || !(event.key in moves)) return;
    event.preventDefault();
    const [dx, dy] = moves[event.key];
    const middle = (cell) => {
      const box = cell.getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2];
    };
    const [x, y] = middle(from);
    let [best, least] = [null, Infinity];
    for (const { cell, l } of Object.values(this.cells)) {
      const [u, v] = middle(cell);
      const along = (u - x) * dx + (v - y) * dy;
      const across = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
      if (l > 0 && along > 1 && along + 2 * across < least) [best, least] = [cell, along + 2 * across];
    }
    best?.focus();
  }
}

/* Put an element into the grid; style.css turns the grid on narrow screens. */
function putAt(element, net, at, span = 1) {
  const row = { supervisor: 1, between: 2, student: 3, below: 4 }[net];
  element.style.setProperty("--row", row);
  element.style.setProperty("--at", at + 1);
  element.style.setProperty("--span", span);
}

function layerOf(model, net, l) {
  return model.nets[net].layers[l - 1];
}

/* Return g of a layer by its parts, as [name, values]: W^T delta of the layer above, if there is one,
 * and Grad[h] of each loss that compares h (equation 10). Layers compute them, as their bugs do. */
function partsOf(model, x, net, l) {
  const layer = layerOf(model, net, l);
  const part = (of, memory, compute) => {
    const own = Object.assign(Object.create(of), { [memory]: new Float64Array(layer.outputs) });
    compute(own);
    return own[memory];
  };
  const direct = (model.loss.directGradients(net, x, 1)[l] ?? []).map((term) => [
    `Grad: ${LOSS_NAMES[term.loss][0]}`,
    part(layer, "g", (own) => own.addDirect(term)),
  ]);
  if (l === model.nets[net].depth) return direct;
  return [["from above", part(layerOf(model, net, l + 1), "below", (own) => own.passDown())], ...direct];
}

function sumOf(parts) {
  const sum = new Float64Array(parts[0][1].length);
  for (const [, values] of parts) addTo(sum, 0, 1, values, 0, values.length);
  return sum;
}

/* Return whether an iteration has reached layer l forward and backward, and how many parts of its g
 * it has summed if it is in the middle of that. `at` is the last event of the iteration, or null. */
function reached(model, at, net, l) {
  if (at === null) return { forward: true, backward: true, summing: 0 };
  const order = orderOf(model);
  const now = order.indexOf(keyOf(at));
  const back = order.indexOf(`back ${net} ${l}`);
  return {
    forward: order.indexOf(`forward ${net} ${l}`) <= now,
    backward: back < now || (back === now && !at.parts),
    summing: back === now && at.parts ? at.parts.length : 0,
  };
}

/* The order in which an iteration reaches layers, as keys. */
function orderOf(model) {
  const order = ["batch", "noise"];
  for (const net of NETS) for (let l = 1; l <= model.nets[net].depth; l++) order.push(`forward ${net} ${l}`);
  order.push("losses");
  for (const net of NETS) for (let l = model.nets[net].depth; l >= 1; l--) order.push(`back ${net} ${l}`);
  return [...order, "descend"];
}

/* The key of an event of Model.iterate. */
function keyOf({ line, net, layer }) {
  if (!net) return line;
  return `${line.endsWith("-back") ? "back" : "forward"} ${net} ${layer}`;
}
