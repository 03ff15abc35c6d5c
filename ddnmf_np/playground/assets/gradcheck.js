"use strict";

/* The gradient check of every block (engine/gradcheck.py): central differences along random
 * directions of +1 and -1, an error relative to the norm of the block's gradient, and no step that
 * carries a ReLU over its kink.
 *
 * Each network is checked with the loss terms that train it; the outputs of the other network are
 * held constant. Differences of the whole loss would disagree for the supervisor, because equation 9
 * leaves the apposition loss out.
 */

const TOLERANCE = 1e-6;
const STEPS = [1e-5, 1e-6, 1e-7];
const REDRAWS = 20;

/* Yield [name, { verdict, error, norm }] for block after block, such as "student.W1". A verdict is
 * "ok", "wrong", "zero" (gradient and differences are 0) or "kink" (every step crossed one). */
function* checkBlocks(model, x, xNoisy, n, { directions = 2, seed = 0 } = {}) {
  const uniform = quickGenerator(seed);
  const twin = model.copy(n);
  for (const net of NETS) leaveKinks(twin.nets[net], uniform);
  twin.forward(x, xNoisy, n);
  twin.backward(x, n);
  for (const net of NETS) {
    const network = twin.nets[net];
    const input = network.h[0];
    const loss = () => {
      network.forward(input, n);
      return twin.loss.measure(x, n, net).total;
    };
    loss();
    const sides = reluSides(network, n);
    const same = () => sameSides(network, n, sides);
    for (const layer of network.layers) {
      for (const name of layer.names) {
        const [value, gradient] = [layer[name[0]], layer[`d${name[0]}`]];
        yield [`${net}.${name}`, checkBlock(value, gradient, loss, same, uniform, directions)];
      }
    }
    loss(); // the outputs at the parameters themselves, which the other network compares with
  }
}

/* Return the verdicts on all blocks by name. */
function gradcheck(...args) {
  return Object.fromEntries(checkBlocks(...args));
}

function checkBlock(value, gradient, loss, same, uniform, directions) {
  const saved = value.slice();
  const norm = Math.sqrt(dot(gradient, 0, gradient, 0, gradient.length));
  let worst = 0;
  let largest = 0;
  for (let k = 0; k < directions; k++) {
    const found = differenceAlong(value, saved, gradient, norm, loss, same, uniform);
    value.set(saved);
    if (found === null) return { verdict: "kink", error: Infinity, norm };
    const error = Math.abs(found.product - found.slope);
    worst = error > worst || Number.isNaN(error) ? error : worst;
    largest = Math.max(largest, Math.abs(found.slope));
  }
  if (norm === 0) return { verdict: largest > 1e-9 ? "wrong" : "zero", error: Infinity, norm };
  const error = worst / norm;
  return { verdict: error <= TOLERANCE ? "ok" : "wrong", error, norm };
}

/* Return <gradient, u> and the slope of the loss along a random u, or null at a kink. */
function differenceAlong(value, saved, gradient, norm, loss, same, uniform) {
  for (let attempt = 0; attempt < REDRAWS; attempt++) {
    const u = saved.map(() => (uniform() < 0.5 ? -1 : 1));
    if (attempt > 0) {
      // leave out half of the entries, perhaps those at a kink
      for (let k = 0; k < u.length; k++) if (uniform() < 0.5) u[k] = 0;
      const left = gradient.reduce((sum, g, k) => (u[k] ? sum + g * g : sum), 0);
      if (Math.sqrt(left) < 0.5 * norm) continue; // the remaining entries prove too little
    }
    for (const step of STEPS) {
      const ends = [];
      for (const sign of [1, -1]) {
        for (let k = 0; k < u.length; k++) value[k] = saved[k] + sign * step * u[k];
        ends.push(loss());
        if (!same()) break;
        if (sign < 0) return { product: dot(gradient, 0, u, 0, u.length), slope: (ends[0] - ends[1]) / (2 * step) };
      }
    }
  }
  return null;
}

/* Shift every bias by at most 0.01, so that no pre-activation is exactly 0. */
function leaveKinks(network, uniform) {
  for (const { b } of network.layers) {
    if (b) for (let o = 0; o < b.length; o++) b[o] += 0.02 * uniform() - 0.01;
  }
}

/* Return which ReLU outputs of n samples are above 0, one list for each layer. */
function reluSides(network, n) {
  return network.layers.map(({ activation, h, outputs }) =>
    activation === "relu" ? Uint8Array.from(h.subarray(0, n * outputs), (value) => value > 0) : null,
  );
}

/* Return whether all ReLU outputs are on the sides on which they were. */
function sameSides(network, n, sides) {
  return network.layers.every(({ h }, l) => {
    const side = sides[l];
    for (let at = 0; side && at < side.length; at++) if ((h[at] > 0 ? 1 : 0) !== side[at]) return false;
    return true;
  });
}

/* Return a function that returns numbers uniform on [0, 1), for directions ("mulberry32"): no other
 * program has to draw the same ones. */
function quickGenerator(seed) {
  let state = (seed + 0x9e3779b9) | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
