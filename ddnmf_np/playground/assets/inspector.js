"use strict";

/* One layer with its numbers, for the chosen image: equation 1 or 3 forward, equations 9 and 10
 * backward.
 */

class Inspector {
  constructor() {
    this.forward = this.figures("forward-pictures", ["x", "row", "W", "z", "h"]);
    this.backward = this.figures("backward-pictures", ["g", "slope", "delta", "outer", "dW", "below"]);
    this.forward.W.figure.classList.add("wide");
    for (const key of ["slope", "outer", "dW"]) this.backward[key].figure.classList.add("wide");
    this.addGrowth();
  }

  /* A slider under dW: the sum over the first images of the batch, which grows to dW. */
  addGrowth() {
    const label = this.backward.dW.figure.appendChild(make("label", "", { class: "grow" }));
    this.growth = make("input", "", { type: "range", id: "grow", min: 0, max: 1, step: "any", value: 1 });
    this.growth.setAttribute("aria-label", "share of the batch whose outer products are summed");
    this.growth.addEventListener("input", touch);
    this.grown = make("output", "");
    label.append(this.growth, this.grown);
  }

  /* Return dW of the last batch, summed over a share of its images only. */
  grow(layer, share) {
    const { inputs, outputs, n, delta, x, dW } = layer;
    const count = Math.round(share * n);
    this.grown.textContent = n ? `${count} of ${n} images` : "no batch yet";
    if (count === n) return dW;
    const sum = new Float64Array(dW.length);
    for (let i = 0; i < count; i++) {
      for (let o = 0; o < outputs; o++) addTo(sum, o * inputs, delta[i * outputs + o], x, i * inputs, inputs);
    }
    return sum;
  }

  figures(id, keys) {
    return Object.fromEntries(keys.map((key) => [key, figureIn(byId(id), "")]));
  }

  /* Set the texts that depend on the layer only. */
  select(model, net, l) {
    Object.assign(this, { net, l });
    const layer = layerOf(model, net, l);
    const { depth } = model;
    const [below, here] = [nameOf(net, l - 1, depth), nameOf(net, l, depth)];
    const W = { _base: "W\u2032", _rec: "W" }[layer.label] ?? `W(${l})`;
    const f = F_NAMES[layer.activation];
    const bias = layer.b ? " + b" : "";
    const nmf = layer.label.startsWith("_");
    Object.assign(this, { below, here, W, f });
    byId("inspector-title").textContent = `${net === "student" ? "Student" : "Supervisor"}, layer ${l}: ${here}`;
    byId("forward-formula").textContent = `${here} = ${f}(${W} ${below}${bias})   equation ${nmf ? 3 : 1}`;
    const direct = model.loss.directGradients(net, null, 1)[l] ? ` + Grad[${here}]` : "";
    const above = l < model.nets[net].depth ? `W(${l + 1})\u1d40 \u03b4(${l + 1})` : "0";
    byId("backward-formula").textContent =
      `g = ${above}${direct},   \u03b4 = f\u2032 g,   dW = \u03b4 ${below}\u1d40${layer.bias ? ",   db = \u03b4" : ""},   ` +
      `g(${l - 1}) = ${W}\u1d40 \u03b4   ${net === "student" ? "equations 9 and 10" : "equation 9"}`;
    const captions = {
      x: `input ${below}`, row: "", W, z: "z", h: `output ${here}`, g: "g", slope: "f\u2032, a diagonal matrix", delta: "\u03b4 = f\u2032 g",
      outer: `\u03b4 ${below}\u1d40`, dW: `dW = \u03a3 \u03b4 ${below}\u1d40 over the batch`, below: `${W}\u1d40 \u03b4, to the layer below`,
    };
    for (const [key, { text, canvas }] of Object.entries({ ...this.forward, ...this.backward })) {
      text.textContent = captions[key];
      canvas.setAttribute("aria-label", captions[key]);
    }
    this.backward.below.figure.hidden = l === 1;
    const quote = { _base: "base", _rec: "recovery" }[layer.label] ?? "forward";
    this.showCode("forward-code", [quote]);
    this.showCode("backward-code", [...(net === "student" ? ["direct"] : []), "delta", "dW", ...(layer.bias ? ["db"] : []), "below"]);
    byId("unit").max = layer.outputs - 1;
  }

  /* Quote the lines of literal.py that compute the formulas. */
  showCode(id, keys) {
    byId(id).replaceChildren();
    for (const key of keys) {
      const { code, line, derivation } = content.quotes[key];
      const row = byId(id).appendChild(make("span", ""));
      const source = "ddnmf_np/engine/literal.py";
      const where = make("small", "");
      where.append(
        linkTo(`${source}:${line}`, `source/${source}.html#L-${line}`),
        ", ",
        linkTo(`derivations/${derivation}`, `derivations/${derivation.replace(".md", ".html")}`),
      );
      row.append(make("code", code), where);
    }
  }

  /* Draw everything; `model` has run on the chosen image, `trained` on the batch. What the iteration
   * has not reached, see reached(), is faint. `share` is the part of the batch that is in the picture
   * of dW, by default what the slider says. */
  show(model, trained, x, unit, at, share = Number(this.growth.value)) {
    const { net, l } = this;
    const layer = layerOf(model, net, l);
    const { inputs, outputs, W, b, g, h, delta } = layer;
    const input = l === 1 ? model.nets[net].h[0] : model.nets[net].h[l - 1];
    const [inShape, outShape] = [gridOf(inputs), gridOf(outputs)];
    const matrix = [outputs, inputs];
    const z = Float64Array.from(h, (_, o) => (b ? b[o] : 0) + dot(W, o * inputs, input, 0, inputs));
    const slopes = h.map(FUNCTIONS[layer.activation].slope);
    const pictures = { ...this.forward, ...this.backward };
    const draw = (key, paint, values, shape) => {
      paint(pictures[key].canvas, values, shape);
      const [height, width] = shape;
      pictures[key].canvas.className = height === 1 ? "strip" : width > 2 * height && width < 20 ? "flat" : "";
      const most = values.some((value) => value !== 0) ? written(largest(values)) : "0";
      pictures[key].detail.textContent = `${shape[0]} \u00d7 ${shape[1]}, largest ${most}`;
    };
    draw("x", paintValues, input.subarray(0, inputs), inShape);
    draw("row", paintSigned, W.subarray(unit * inputs, (unit + 1) * inputs), inShape);
    this.forward.row.text.textContent = `unit ${unit}\u2019s row of ${this.W}`;
    this.forward.row.canvas.setAttribute("aria-label", this.forward.row.text.textContent);
    draw("W", paintSigned, W, matrix);
    draw("z", paintSigned, z, outShape);
    draw("h", paintValues, h, outShape);
    const done = reached(model, at, net, l);
    for (const key of ["z", "h"]) this.forward[key].figure.classList.toggle("pending", !done.forward);
    for (const [key, { figure }] of Object.entries(this.backward)) {
      figure.classList.toggle("pending", !done.backward && !(key === "g" && done.summing));
    }
    draw("g", paintSigned, done.summing ? sumOf(partsOf(model, x, net, l).slice(0, done.summing)) : g, outShape);
    const diagonal = new Float64Array(outputs * outputs);
    for (let o = 0; o < outputs; o++) diagonal[o * outputs + o] = slopes[o];
    draw("slope", paintValues, diagonal, [outputs, outputs]);
    draw("delta", paintSigned, delta, outShape);
    const outer = new Float64Array(outputs * inputs);
    for (let o = 0; o < outputs; o++) addTo(outer, o * inputs, delta[o], input, 0, inputs);
    draw("outer", paintSigned, outer, matrix);
    draw("dW", paintSigned, this.grow(layerOf(trained, net, l), share), matrix);
    if (layer.below) draw("below", paintSigned, layer.below.subarray(0, inputs), inShape);
    this.showNumbers(layer, input, z[unit], slopes[unit], unit, done);
    this.showParts(model, x, unit, done);
  }

  /* Write the formulas of one unit with its numbers. */
  showNumbers({ inputs, W, b, g, h, delta, activation }, input, z, slope, unit, { backward }) {
    const terms = Array.from({ length: inputs }, (_, k) => [W[unit * inputs + k], input[k], k]);
    terms.sort((p, q) => Math.abs(q[0] * q[1]) - Math.abs(p[0] * p[1]));
    const first = terms.slice(0, 3).map(([w, v]) => `${written(w)} \u00b7 ${written(v)}`);
    const rest = inputs > 3 ? ` + \u2026 (${inputs - 3} more)` : "";
    const bias = b ? ` + b ${written(b[unit])}` : "";
    byId("forward-numbers").textContent =
      `unit ${unit}: z = ${first.join(" + ")}${rest}${bias} = ${written(z)}, ` +
      `so ${this.here} = ${F_NAMES[activation]}(${written(z)}) = ${written(h[unit])}`;
    const [, v, k] = terms[0];
    byId("backward-numbers").classList.toggle("pending", !backward);
    byId("backward-numbers").textContent =
      `unit ${unit}: \u03b4 = f\u2032 g = ${written(slope)} \u00b7 ${written(g[unit])} = ${written(delta[unit])}, ` +
      `dW[${unit}, ${k}] = \u03b4 \u00b7 ${this.below}[${k}] = ${written(delta[unit])} \u00b7 ${written(v)} = ${written(delta[unit] * v)}`;
  }

  /* Draw where g of the unit comes from: one bar for the layer above, one for each loss, and their
   * sum. While an iteration sums them, those to come are faint and g is the sum so far. */
  showParts(model, x, unit, { backward, summing }) {
    const { net, l } = this;
    const parts = partsOf(model, x, net, l);
    const count = backward ? parts.length : summing;
    const g = count < parts.length ? (count ? sumOf(parts.slice(0, count)) : null) : layerOf(model, net, l).g;
    const sums = parts.map((_, k) => sumOf(parts.slice(0, k + 1))[unit]); // one scale for all of them
    const most = largest([...parts.map(([, values]) => values[unit]), ...sums, layerOf(model, net, l).g[unit]]);
    const rows = [...parts, [count < parts.length ? "g so far" : "g", g]].map(([name, values], k) => {
      const row = make("div", "", { class: "part" });
      const bar = row.appendChild(make("span", name)) && row.appendChild(make("i"));
      const shown = k < count || (k === parts.length && g !== null);
      row.classList.toggle("pending", !shown);
      const value = shown ? values[unit] / most : 0;
      bar.className = value < 0 ? "less" : "more";
      bar.style.setProperty("--from", Math.min(value, 0));
      bar.style.setProperty("--size", Math.abs(value));
      row.append(make("output", shown ? written(values[unit]) : "\u2026"));
      const norm = shown ? Math.sqrt(dot(values, 0, values, 0, values.length)) : 0;
      row.append(make("small", shown ? `whole layer \u2016\u00b7\u2016 ${written(norm)}` : "to come"));
      return row;
    });
    byId("parts").replaceChildren(make("p", `Where g of unit ${unit} comes from`), ...rows);
  }
}

/* Return a text that, in the book, is a link to one of its pages. */
function linkTo(text, page) {
  return content.book ? make("a", text, { href: page }) : text;
}
