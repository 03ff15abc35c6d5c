"use strict";

/* Random numbers, the same bits as in Python: NumPy's default generator draws the weights
 * (engine/layers.py), Philox draws order and noise (backends/noise_ops.py). So the page trains from the
 * weights, in the order and with the noise of the package.
 */

const WORD = 0xffffffffn;
const LONG = (1n << 64n) - 1n;
const VERY_LONG = (1n << 128n) - 1n;

/* NumPy's default_rng([seed, stream]): PCG64 (O'Neill, 2014), started by a SeedSequence. */
class Generator {
  constructor(seed, stream) {
    const words = seedWords([seed, stream], 8).map(BigInt);
    const join = (at) => words.slice(at, at + 4).reduce((sum, word, k) => sum | (word << SHIFTS[k]), 0n);
    const [state, sequence] = [join(0), join(4)];
    this.step = ((sequence << 1n) | 1n) & VERY_LONG;
    this.state = (this.step + state) & VERY_LONG;
    this.advance();
  }

  advance() {
    this.state = (this.state * 0x2360ed051fc65da44385df649fccf645n + this.step) & VERY_LONG;
  }

  /* Return a number that is uniform on [0, 1). */
  uniform() {
    this.advance();
    const mixed = (this.state >> 64n) ^ (this.state & LONG);
    const turn = this.state >> 122n;
    const word = ((mixed >> turn) | (mixed << (64n - turn))) & LONG;
    return Number(word >> 11n) * 2 ** -53;
  }
}

const SHIFTS = [64n, 96n, 0n, 32n]; // NumPy makes 128 bits of four words in this order

/* NumPy's SeedSequence(entropy).generate_state(count), 32-bit words. */
function seedWords(entropy, count) {
  const times = (a, b) => Math.imul(a, b) >>> 0;
  const fold = (value) => (value ^ (value >>> 16)) >>> 0;
  let constant = 0x43b0d7e5;
  const hash = (value) => {
    const mixed = (value ^ constant) >>> 0;
    constant = times(constant, 0x931e8875);
    return fold(times(mixed, constant));
  };
  const pool = Array.from({ length: 4 }, (_, k) => hash(entropy[k] ?? 0));
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) {
      if (from === to) continue;
      pool[to] = fold((times(0xca01f9dd, pool[to]) - times(0x4973f715, hash(pool[from]))) >>> 0);
    }
  }
  constant = 0x8b51f9dd;
  return Array.from({ length: count }, (_, k) => {
    const mixed = (pool[k % 4] ^ constant) >>> 0;
    constant = times(constant, 0x58f38ded);
    return fold(times(mixed, constant));
  });
}

/* The high half of the product of two 32-bit words. */
function highHalf(a, b) {
  const a1 = a >>> 16;
  const a0 = a & 0xffff;
  const b1 = b >>> 16;
  const b0 = b & 0xffff;
  const middle = a1 * b0 + ((a0 * b0) >>> 16);
  const low = a0 * b1 + (middle & 0xffff);
  return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(low / 65536)) >>> 0;
}

/* Philox-4x32-10 (Salmon et al., 2011): write four random words for a counter of four words. */
function philox(c0, c1, c2, c3, key, out) {
  let k0 = key[0];
  let k1 = key[1];
  for (let round = 0; round < 10; round++) {
    const high0 = highHalf(c0, 0xd2511f53);
    const high1 = highHalf(c2, 0xcd9e8d57);
    const low0 = Math.imul(c0, 0xd2511f53);
    const low1 = Math.imul(c2, 0xcd9e8d57);
    c0 = (high1 ^ c1 ^ k0) >>> 0;
    c2 = (high0 ^ c3 ^ k1) >>> 0;
    c1 = low1 >>> 0;
    c3 = low0 >>> 0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/* Return Philox's key for one use of the seed; `stream` is its name, eight letters. */
function streamKey(seed, stream) {
  const name = [...stream].reduce((sum, letter) => (sum << 8n) | BigInt(letter.charCodeAt(0)), 0n);
  const key = BigInt(seed) ^ name;
  return [Number(key & WORD), Number(key >> 32n)];
}

/* Return the order in which an epoch visits n samples (data/order.py): sorted random keys. */
function epochOrder(n, seed, epoch) {
  const key = streamKey(seed, "shuffle ");
  const words = new Uint32Array(4);
  const [low, high] = [new Uint32Array(n), new Uint32Array(n)];
  for (let i = 0; i < n; i++) {
    philox(i, 0, 0, epoch, key, words);
    [low[i], high[i]] = words;
  }
  const order = Array.from({ length: n }, (_, i) => i);
  return order.sort((i, j) => high[i] - high[j] || low[i] - low[j] || i - j);
}
