"use strict";

/* Wrong backward passes, each with one wrong line, those of teaching/bugs.py.
 *
 * `methods` replace methods of a layer. `wrong` says whose gradients are then wrong: those of the
 * layer itself, its bias alone, or only those below it; a wrong delta is passed down, too.
 */
const BUGS = {
  slope: {
    name: "f\u2032 forgotten",
    text: "The layer takes g for delta.",
    wrong: "own and below",
    fits: (layer) => layer.activation !== "identity",
    methods: {
      makeDelta() {
        this.delta.set(this.g);
      },
    },
  },
  signal: {
    name: "signal forgotten",
    text: "The layer takes f\u2032 for delta, as if g were 1 everywhere.",
    wrong: "own and below",
    methods: {
      makeDelta() {
        this.g.fill(1);
        Dense.prototype.makeDelta.call(this);
      },
    },
  },
  direct: {
    name: "Grad[h] forgotten",
    text: "The layer ignores the losses that compare its own output.",
    wrong: "own and below",
    fits: (layer, direct) => direct.length > 0,
    methods: { addDirect() {} },
  },
  rows: {
    name: "rows of dW reversed",
    text: "dW is upside down; its norm is right.",
    wrong: "W",
    methods: {
      sumOuter() {
        Dense.prototype.sumOuter.call(this);
        const [dW, { inputs, outputs }] = [this.dW.slice(), this];
        for (let o = 0; o < outputs; o++) {
          this.dW.set(dW.subarray(o * inputs, (o + 1) * inputs), (outputs - 1 - o) * inputs);
        }
      },
    },
  },
  mean: {
    name: "db averaged, not summed",
    text: "db is divided by the batch size, though the loss has its 1/N already.",
    wrong: "b",
    fits: (layer) => layer.bias,
    methods: {
      sumRows() {
        Dense.prototype.sumRows.call(this);
        for (let o = 0; o < this.outputs; o++) this.db[o] /= this.n;
      },
    },
  },
  bias: {
    name: "db forgotten",
    text: "db stays 0, so the bias never moves.",
    wrong: "b",
    fits: (layer) => layer.bias,
    methods: {
      sumRows() {
        this.db.fill(0);
      },
    },
  },
  half: {
    name: "half the signal passed on",
    text: "The layer below gets only half of W^T delta.",
    wrong: "below",
    fits: (layer) => layer.below !== null,
    methods: {
      passDown() {
        Dense.prototype.passDown.call(this);
        for (let at = 0; at < this.n * this.inputs; at++) this.below[at] *= 0.5;
      },
    },
  },
  transpose: {
    name: "W transposed",
    text: "The signal goes down through the numbers of W read in the wrong order.",
    wrong: "below",
    fits: (layer) => layer.below !== null,
    methods: {
      passDown() {
        const { inputs, outputs, n, delta, W, below } = this;
        for (let i = 0; i < n; i++) {
          for (let k = 0; k < inputs; k++) below[i * inputs + k] = dot(W, k * outputs, delta, i * outputs, outputs);
        }
      },
    },
  },
  module: {
    name: "a bias in the NMF module",
    text: "The layer adds a bias that equation 3 does not have. Backward does not know of it, so its db stays 0.",
    wrong: "b",
    fits: (layer) => layer.label.startsWith("_") && !layer.bias,
    methods: {},
    bias: 0.5,
  },
  leak: {
    name: "L_ap moves the supervisor",
    text: "The apposition loss reaches the supervisor, though equation 9 leaves it out.",
    wrong: "supervisor",
    fits: () => false, // it is planted in the loss, not in a layer
    methods: {},
  },
};

/* Give a layer a bug, or none. */
function plant(layer, name) {
  for (const { methods } of Object.values(BUGS)) {
    for (const method of Object.keys(methods)) delete layer[method];
  }
  layer.bug = name;
  if (!layer.bias) layer.b = layer.db = null;
  if (!name) return;
  const { methods, bias } = BUGS[name];
  Object.assign(layer, methods);
  if (bias) [layer.b, layer.db] = [bias, 0].map((value) => new Float64Array(layer.outputs).fill(value));
}

/* Plant a bug in a model: in layer l of a network, or in the loss; remove all others. */
function plantIn(model, name, net, l) {
  model.loss.leaks = name === "leak";
  for (const key of NETS) {
    model.nets[key].layers.forEach((layer, k) => {
      plant(layer, name && name !== "leak" && key === net && k + 1 === l ? name : null);
    });
  }
}

/* Return whether a bug can be planted in layer l of a network. */
function fits(model, name, net, l) {
  const layer = model.nets[net].layers[l - 1];
  const direct = model.loss.directGradients(net, null, 1)[l] ?? [];
  return (BUGS[name].fits ?? (() => true))(layer, direct);
}

/* Return the names of the blocks whose gradients a bug makes wrong, each with its network. */
function brokenBlocks(model, name, net, l) {
  const { wrong } = BUGS[name];
  const all = (network) => network.layers.flatMap((layer) => layer.blocks.map(([block]) => block));
  if (wrong === "supervisor") return all(model.supervisor).map((block) => `supervisor.${block}`);
  const { layers } = model.nets[net];
  const own = [`W${layers[l - 1].label}`, `b${layers[l - 1].label}`];
  const below = layers.slice(0, l - 1).flatMap((layer) => layer.blocks.map(([block]) => block));
  const had = own.slice(0, layers[l - 1].blocks.length);
  const found = { "own and below": [...below, ...had], below, W: own.slice(0, 1), b: own.slice(1) };
  return found[wrong].map((block) => `${net}.${block}`);
}
