"use strict";

/* A layer, and layers in a row (engine/layers.py, engine/network.py).
 *
 * A batch is a Float64Array, one sample after the other. W is (outputs, inputs), row by row, as in
 * the paper. Each line of backward() is a method, so that a planted bug replaces one line.
 */

/* The functions f, each with f' as a function of the output h (backends/ops.py). */
const FUNCTIONS = {
  identity: { f: (z) => z, slope: () => 1 },
  relu: { f: (z) => Math.max(z, 0), slope: (h) => (h > 0 ? 1 : 0) },
  sigmoid: { f: (z) => 1 / (1 + Math.exp(-z)), slope: (h) => h * (1 - h) },
  tanh: { f: Math.tanh, slope: (h) => 1 - h * h },
  softplus: {
    f: (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))),
    slope: (h) => -Math.expm1(-h),
  },
};

class Dense {
  constructor(inputs, outputs, activation, { bias = true, label }) {
    Object.assign(this, { inputs, outputs, activation, bias, label });
  }

  /* The parameter blocks of the layer, [name, shape]. */
  get blocks() {
    const W = [`W${this.label}`, [this.outputs, this.inputs]];
    return this.bias ? [W, [`b${this.label}`, [this.outputs]]] : [W];
  }

  /* The names of all that it computes with, which a planted bug can make more. */
  get names() {
    return ["W", "b"].filter((key) => this[key]).map((key) => key + this.label);
  }

  /* Take memory for batches of `rows` samples; the network gives W, b and their gradients. */
  bind(arena, rows) {
    for (const [name, key] of [[`W${this.label}`, "W"], [`b${this.label}`, "b"]]) {
      this[key] = arena.parameters[name] ?? null;
      this["d" + key] = arena.gradients[name] ?? null;
    }
    for (const key of ["h", "g", "delta"]) this[key] = new Float64Array(rows * this.outputs);
    this.n = 0; // samples of the last batch
    this.below = null; // where the gradient with respect to the input goes
  }

  /* Compute h for n samples, rows of x. */
  forward(x, n) {
    const { inputs, outputs, W, b, h } = this;
    const { f } = FUNCTIONS[this.activation];
    this.x = x;
    this.n = n;
    for (let i = 0, at = 0; i < n; i++) {
      for (let o = 0; o < outputs; o++, at++) {
        const z = (b ? b[o] : 0) + dot(W, o * inputs, x, i * inputs, inputs);
        h[at] = f(z); // equation 1: h = f(W x + b); equation 3: H = sigmoid(W' X), X^ = ReLU(W H)
      }
    }
    return h;
  }

  /* Compute dW, db and the gradient of the layer below. On entry g is W^T delta of the layer
   * above, or 0. `direct` is Grad[h], one entry for each loss term that compares h. Yield the names
   * of the parts of g as they add up. */
  *backward(direct, above) {
    let parts = above ? ["above"] : [];
    if (above) yield parts;
    for (const term of direct) {
      this.addDirect(term); // equation 10: g = W^T delta(above) + Grad[h]
      yield (parts = [...parts, term.loss]);
    }
    this.makeDelta(); // equation 9: delta = f' g
    this.sumOuter(); // equation 9: dW = sum_i delta_i x_i^T
    if (this.bias) this.sumRows(); // equation 9: db = sum_i delta_i
    if (this.below) this.passDown(); // equation 9: g(l-1) = W^T delta
  }

  addDirect({ ref, c }) {
    const { g, h } = this;
    const size = this.n * this.outputs;
    for (let at = 0; at < size; at++) g[at] += c * (h[at] - ref[at]);
  }

  makeDelta() {
    const { g, h, delta } = this;
    const { slope } = FUNCTIONS[this.activation];
    const size = this.n * this.outputs;
    for (let at = 0; at < size; at++) delta[at] = slope(h[at]) * g[at];
  }

  sumOuter() {
    const { inputs, outputs, n, delta, x, dW } = this;
    dW.fill(0);
    for (let i = 0, at = 0; i < n; i++) {
      for (let o = 0; o < outputs; o++, at++) addTo(dW, o * inputs, delta[at], x, i * inputs, inputs);
    }
  }

  sumRows() {
    const { outputs, n, delta, db } = this;
    db.fill(0);
    for (let i = 0; i < n; i++) addTo(db, 0, 1, delta, i * outputs, outputs);
  }

  passDown() {
    const { inputs, outputs, n, delta, W, below } = this;
    below.fill(0, 0, n * inputs);
    for (let i = 0, at = 0; i < n; i++) {
      for (let o = 0; o < outputs; o++, at++) addTo(below, i * inputs, delta[at], W, o * inputs, inputs);
    }
  }
}

/* Return the sum of a[i + k] b[j + k] over k < size, in four sums, which a processor overlaps. */
function dot(a, i, b, j, size) {
  let s0 = 0;
  let s1 = 0;
  let s2 = 0;
  let s3 = 0;
  let k = 0;
  for (; k + 3 < size; k += 4) {
    s0 += a[i + k] * b[j + k];
    s1 += a[i + k + 1] * b[j + k + 1];
    s2 += a[i + k + 2] * b[j + k + 2];
    s3 += a[i + k + 3] * b[j + k + 3];
  }
  for (; k < size; k++) s0 += a[i + k] * b[j + k];
  return s0 + s1 + (s2 + s3);
}

/* Compute out[i + k] += c v[j + k] for k < size. ReLU makes many c exactly 0. */
function addTo(out, i, c, v, j, size) {
  if (c === 0) return;
  for (let k = 0; k < size; k++) out[i + k] += c * v[j + k];
}

/* The parameters of a network in one flat array, and their gradients in another. */
class Arena {
  constructor(blocks) {
    this.shapes = Object.fromEntries(blocks);
    this.size = blocks.reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b), 0);
    this.flat = new Float64Array(this.size);
    this.flatGradients = new Float64Array(this.size);
    [this.parameters, this.gradients] = [{}, {}];
    let at = 0;
    for (const [name, shape] of blocks) {
      const end = at + shape.reduce((a, b) => a * b);
      this.parameters[name] = this.flat.subarray(at, end);
      this.gradients[name] = this.flatGradients.subarray(at, end);
      at = end;
    }
  }
}

/* Layers 1 to depth. h[0] is the input and h[l] the output of layer l. */
class Network {
  constructor(layers, rows) {
    Object.assign(this, { layers, rows, depth: layers.length });
    this.arena = new Arena(layers.flatMap((layer) => layer.blocks));
    for (const layer of layers) layer.bind(this.arena, rows);
    for (let l = 1; l < layers.length; l++) layers[l].below = layers[l - 1].g;
    this.h = [null, ...layers.map((layer) => layer.h)];
  }

  /* Return a network of the same layers, planted bugs included, with its own memory and a copy of
   * the parameters. */
  copy(rows) {
    const layers = this.layers.map((layer) => new Dense(layer.inputs, layer.outputs, layer.activation, layer));
    const network = new Network(layers, rows);
    network.arena.flat.set(this.arena.flat);
    this.layers.forEach(({ bug }, k) => bug && plant(layers[k], bug));
    return network;
  }

  /* Draw W from U(-a, a), a = sqrt(6 / (inputs + outputs)) (Glorot and Bengio, 2010); b = 0. */
  initialise(seed, stream) {
    const generator = new Generator(seed, stream);
    for (const { W, b, inputs, outputs } of this.layers) {
      const a = (6 / (inputs + outputs)) ** 0.5;
      for (let k = 0; k < W.length; k++) W[k] = -a + 2 * a * generator.uniform();
      if (b) b.fill(0);
    }
  }

  forward(x, n) {
    this.start(x);
    for (let l = 1; l <= this.depth; l++) this.forwardLayer(l, n);
  }

  start(x) {
    this.h[0] = x;
  }

  forwardLayer(l, n) {
    this.layers[l - 1].forward(this.h[l - 1], n); // equation 1
  }

  /* Compute all gradients; `direct` gives Grad[h(l)] by layer number. */
  backward(direct) {
    for (let l = this.depth; l >= 1; l--) for (const _ of this.backwardLayer(l, direct));
  }

  /* Run a layer backward; yield as Dense.backward does. */
  *backwardLayer(l, direct) {
    const above = l < this.depth;
    if (!above) this.layers[l - 1].g.fill(0);
    yield* this.layers[l - 1].backward(direct[l] ?? [], above); // equation 9, equation 10
  }
}
