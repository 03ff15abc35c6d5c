"use strict";

/* Equation 2, x~ = x + noise (data/noise.py). The noise of an entry depends on the seed, the
 * sample and the entry only, and on the epoch if it is redrawn.
 */
class Corruption {
  constructor({ noise_kind, noise_rate, noise_rescale, noise_redraw, seed }, high) {
    Object.assign(this, { kind: noise_kind, rate: noise_rate, rescale: noise_rescale });
    Object.assign(this, { redraw: noise_redraw, high, key: streamKey(seed, "noise   ") });
    this.words = new Uint32Array(4);
  }

  /* Write the noisy copy of a sample x into `out`. `index` is its number in the data. */
  apply(x, index, epoch, out) {
    const { kind, rate, words } = this;
    const limit = Math.round(rate * 2 ** 32);
    const scale = kind === "masking" && this.rescale ? 1 / (1 - rate) : 1;
    for (let j = 0; j < x.length; j++) {
      if (j % 4 === 0) philox(j >> 2, index, 0, this.redraw ? epoch : 0, this.key, words);
      if (kind === "masking") out[j] = words[j % 4] < limit ? 0 : scale * x[j]; // equation 2
      else if (kind === "gaussian") out[j] = x[j] + this.normal(j % 4); // equation 2
      else out[j] = x[j];
    }
  }

  /* Return a normal deviate of word k, by the transform of Box and Muller. */
  normal(k) {
    const first = k - (k % 2);
    const radius = Math.sqrt(
      -2 * (this.rate * this.high) ** 2 * Math.log((this.words[first] + 0.5) * 2 ** -32),
    );
    const angle = this.words[first + 1] * (2 * Math.PI * 2 ** -32);
    return radius * (k % 2 ? Math.sin(angle) : Math.cos(angle));
  }
}
