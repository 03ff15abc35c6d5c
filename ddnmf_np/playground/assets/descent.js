"use strict";

/* Equation 8 and Adam (engine/descent.py, backends/ops.py). */

/* Adding and subtracting these sets moments to 0 before they are so small that a processor is slow. */
const FLUSH = 2 ** -928;
const FLUSH_ROOT = 2 ** -968;

class Descent {
  constructor(options, arenas) {
    Object.assign(this, { options, arenas, t: 0, lr: options.lr });
    this.moments = arenas.map(({ size }) => [new Float64Array(size), new Float64Array(size)]);
  }

  /* Return the learning rate once a share of all steps is done. */
  rate(progress) {
    const { lr, lr_schedule } = this.options;
    if (lr_schedule === "constant") return lr;
    return lr * (0.5 * (1 + Math.cos(Math.PI * Math.min(progress, 1))));
  }

  begin(progress) {
    this.t += 1;
    this.lr = this.rate(progress);
  }

  /* Move the parameters of one arena. */
  update(number) {
    const { flat: p, flatGradients: g } = this.arenas[number];
    if (this.options.optimizer === "gd") {
      for (let k = 0; k < p.length; k++) p[k] -= this.lr * g[k]; // equation 8
      return;
    }
    const { adam_b1: b1, adam_b2: b2, adam_eps } = this.options;
    const [m, v] = this.moments[number];
    const root = (1 - b2 ** this.t) ** 0.5;
    const [rate, eps] = [(this.lr * root) / (1 - b1 ** this.t), adam_eps * root];
    for (let k = 0; k < p.length; k++) {
      m[k] = b1 * m[k] + (1 - b1) * g[k] + FLUSH - FLUSH;
      v[k] = b2 * v[k] + (1 - b2) * (g[k] * g[k]) + FLUSH_ROOT - FLUSH_ROOT;
      p[k] -= rate * (m[k] / (Math.sqrt(v[k]) + eps)); // equation 8 with Adam's direction
    }
  }
}
