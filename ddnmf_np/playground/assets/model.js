"use strict";

/* The two networks under one loss, and algorithm 1 (model.py, training.py).
 *
 * `options` have the package's short names, those of ddnmf_np.config.configure.
 */

const NETS = ["supervisor", "student"];

/* Return the layers of both networks (equations 1 and 3); the decoder mirrors the encoder. */
function makeLayers(features, options) {
  const widths = [features, ...options.widths];
  const half = options.widths.length;
  const up = options.widths.map((width, k) => [widths[k], width, options.activation]);
  const down = up.map((_, k) => [
    widths[half - k],
    widths[half - k - 1],
    k === half - 1 ? options.output_activation : options.activation,
  ]);
  const rows = (shapes, first) =>
    shapes.map(([a, b, f], k) => new Dense(a, b, f, { label: String(first + k) }));
  const [m, r] = [widths[half], options.rank];
  const base = new Dense(m, r, "sigmoid", { bias: options.base_bias, label: "_base" });
  const recovery = new Dense(r, m, "relu", { bias: false, label: "_rec" });
  return {
    supervisor: rows([...up, ...down], 1),
    student: [...rows(up, 1), base, recovery, ...rows(down, half + 3)],
  };
}

class Model {
  constructor(features, options) {
    Object.assign(this, { features, options });
    const layers = makeLayers(features, options);
    this.nets = Object.fromEntries(
      NETS.map((net) => [net, new Network(layers[net], options.batch_size)]),
    );
    this.join();
    NETS.forEach((net, stream) => this.nets[net].initialise(options.seed, stream));
    this.descent = new Descent(options, NETS.map((net) => this.nets[net].arena));
  }

  join() {
    Object.assign(this, this.nets);
    this.depth = this.supervisor.depth;
    this.loss = new Loss(this.options, this.nets);
  }

  /* Return a model with the same parameters and bugs in its own memory. */
  copy(rows) {
    const twin = Object.create(Model.prototype);
    Object.assign(twin, { features: this.features, options: this.options });
    twin.nets = Object.fromEntries(NETS.map((net) => [net, this.nets[net].copy(rows)]));
    twin.join();
    twin.loss.leaks = this.loss.leaks;
    return twin;
  }

  /* Change weights of the losses, learning rate or optimizer; parameters and moments stay. */
  change(options) {
    this.options = options;
    const { leaks } = this.loss;
    this.loss = new Loss(options, this.nets);
    this.loss.leaks = leaks;
    this.descent.options = options;
  }

  forward(x, xNoisy, n) {
    this.supervisor.forward(x, n);
    this.student.forward(xNoisy, n);
  }

  backward(x, n) {
    for (const net of NETS) this.nets[net].backward(this.loss.directGradients(net, x, n));
  }

  /* Do one iteration of algorithm 1 on n samples; yield after each layer, with the line of the
   * algorithm and the layer that is done, and before it is done with each part of its g. Both networks run forward before either runs backward,
   * because a direct gradient compares outputs of the two. */
  *iterate(x, xNoisy, n, progress) {
    this.descent.begin(progress);
    this.supervisor.start(x);
    for (let l = 1; l <= this.supervisor.depth; l++) {
      this.supervisor.forwardLayer(l, n); // equation 1
      yield { line: "supervisor", net: "supervisor", layer: l };
    }
    this.student.start(xNoisy);
    for (let l = 1; l <= this.student.depth; l++) {
      this.student.forwardLayer(l, n); // equation 1, equation 3
      yield { line: "student", net: "student", layer: l };
    }
    this.losses = this.loss.measure(x, n); // equation 7
    yield { line: "losses" };
    for (const net of NETS) {
      const direct = this.loss.directGradients(net, x, n);
      for (let l = this.nets[net].depth; l >= 1; l--) {
        const here = { line: `${net}-back`, net, layer: l };
        for (const parts of this.nets[net].backwardLayer(l, direct)) yield { ...here, parts }; // equation 10
        yield here; // equation 9
      }
    }
    NETS.forEach((_, number) => this.descent.update(number)); // equation 8
    yield { line: "descend" };
  }
}

/* Samples, noise and order of a run, and where it is. `data.x` holds samples row by row. */
class Trainer {
  constructor(model, data) {
    Object.assign(this, { model, data, epoch: 0, batch: 0, steps: 0, running: null });
    const { batch_size } = model.options;
    this.size = Math.min(batch_size, data.n);
    this.batches = Math.ceil(data.n / this.size);
    this.x = new Float64Array(batch_size * data.features);
    this.xNoisy = new Float64Array(batch_size * data.features);
    this.setNoise();
  }

  setNoise() {
    this.noise = new Corruption(this.model.options, this.data.high);
  }

  /* Start the NMF module from the codes of the data, if the options ask for it. */
  start() {
    const { nmf_start, nmf_spread } = this.model.options;
    if (nmf_start !== "pca") return;
    const half = this.model.depth / 2;
    const twin = this.model.copy(this.data.n).student;
    twin.start(this.data.x);
    for (let l = 1; l <= half; l++) twin.forwardLayer(l, this.data.n);
    const [base, recovery] = this.model.student.layers.slice(half, half + 2);
    startFromCode(base, recovery, twin.h[half], this.data.n, nmf_spread);
  }

  /* Share of the whole run that is done. */
  get progress() {
    return this.steps / (this.model.options.epochs * this.batches);
  }

  /* Do one iteration; yield as Model.iterate does. */
  *iterate() {
    if (this.steps === 0) this.start();
    if (this.batch === 0) this.order = epochOrder(this.data.n, this.model.options.seed, this.epoch);
    const from = this.batch * this.size;
    this.index = this.order.slice(from, from + this.size);
    this.gather();
    yield { line: "batch" };
    this.corrupt();
    yield { line: "noise" };
    yield* this.model.iterate(this.x, this.xNoisy, this.index.length, this.progress);
    this.steps += 1;
    this.batch += 1;
    if (this.batch === this.batches) [this.epoch, this.batch] = [this.epoch + 1, 0];
  }

  gather() {
    const { x, features } = this.data;
    this.index.forEach((sample, i) => {
      this.x.set(x.subarray(sample * features, (sample + 1) * features), i * features);
    });
  }

  corrupt() {
    const { features } = this.data;
    this.index.forEach((sample, i) => {
      const [from, to] = [i * features, (i + 1) * features];
      const [clean, out] = [this.x.subarray(from, to), this.xNoisy.subarray(from, to)];
      this.noise.apply(clean, sample, this.epoch, out); // equation 2
    });
  }

  /* Go on to the next event that is wanted, by default a layer that is done; return it, or null at
   * the end of the iteration. */
  advance(wanted = ({ parts }) => !parts) {
    this.running ??= this.iterate();
    for (;;) {
      const { value, done } = this.running.next();
      if (done) return (this.running = null);
      if (wanted(value)) return value;
    }
  }

  /* Finish the current iteration, or do a whole one. */
  step() {
    while (this.advance() !== null);
  }
}
