"use strict";

/* The student in plain JavaScript, above its base layer and, for drawings, below it.
 *
 * H is a list of `rank` numbers. Equation (3) rebuilds the code from it,
 *
 *     code_hat = f(W_rec H),
 *
 * and the decoder's layers turn the code into an image, each by equation (1),
 *
 *     h = f(W x + b).
 *
 * The encoder's layers make the code X of an image in the same way, and the base layer makes H of X.
 * Layer.forward below computes them all. The rest of this file unpacks the numbers that
 * ddnmf_np/explore/packing.py has packed.
 */

/* The functions f, as in ddnmf_np/backends/ops.py. */
const ACTIVATIONS = {
  identity: (z) => z,
  relu: (z) => Math.max(z, 0),
  sigmoid: (z) => 1 / (1 + Math.exp(-z)),
  tanh: Math.tanh,
  // log(1 + e^z), without an e^z that could be infinite
  softplus: (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z))),
};

/* One layer, h = f(W x + b). W is (outputs, inputs), row by row; b may be null. */
class Layer {
  constructor(inputs, outputs, activation, W, b) {
    Object.assign(this, { inputs, outputs, activation, W, b });
    this.h = new Float32Array(outputs);
  }

  /* Return h, which the next call overwrites. Sums are computed in double precision. */
  forward(x) {
    const { inputs, outputs, W, b, h } = this;
    const f = ACTIVATIONS[this.activation];
    for (let i = 0, at = 0; i < outputs; i++, at += inputs) {
      let sum = b === null ? 0 : b[i];
      for (let k = 0; k < inputs; k++) sum += W[at + k] * x[k];
      h[i] = f(sum);
    }
    return h;
  }
}

/* The layers from H to the image. */
class Decoder {
  constructor(layers) {
    this.layers = layers;
    this.rank = layers[0].inputs;
    this.products = layers.reduce((sum, layer) => sum + layer.W.length, 0);
  }

  /* Decode H; return a new array. */
  decode(H) {
    return through(this.layers, H);
  }
}

/* Return what layers make of x, as a new array. */
function through(layers, x) {
  return layers.reduce((h, layer) => layer.forward(h), x).slice();
}

/* -- unpacking ------------------------------------------------------------------------------- */

/* Return the bytes of a block and remove its text, so that memory holds the block only once. */
function takeBytes(name) {
  const element = document.getElementById("block-" + name);
  const text = atob(element.textContent);
  element.remove();
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/* Return the 16-bit integers of a block, which are little-endian on every machine. */
function takeWords(name) {
  const bytes = takeBytes(name);
  const words = new Uint16Array(bytes.length / 2);
  for (let i = 0; i < words.length; i++) words[i] = bytes[2 * i] | (bytes[2 * i + 1] << 8);
  return words;
}

/* The value of each of the 65536 float16: sign, 5 bits of exponent, 10 bits of fraction. */
const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  if (exponent === 0) return sign * fraction * 2 ** -24; // subnormal: no leading 1
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
});

/* Return a block of weights. They were scaled so that the largest is just below 2^15: none
 * overflows, and small ones keep their bits. `scale`, a power of two, undoes that exactly. */
function takeWeights({ block, scale }) {
  const words = takeWords(block);
  const weights = new Float32Array(words.length);
  for (let i = 0; i < weights.length; i++) weights[i] = HALF[words[i]] * scale;
  return weights;
}

/* Return a matrix. Each row was rounded to 8-bit integers, and has its own scale. */
function takeRows({ block, scale }) {
  const levels = new Int8Array(takeBytes(block).buffer);
  const columns = levels.length / scale.length;
  return Float32Array.from(levels, (level, i) => level * scale[Math.floor(i / columns)]);
}

/* Return a matrix. Each column was packed as levels between its smallest and largest entry. */
function takeColumns(name, { low, high }) {
  const levels = takeWords(name);
  const columns = low.length;
  const steps = low.map((value, k) => (high[k] - value) / 65535);
  return Float32Array.from(levels, (level, i) => low[i % columns] + level * steps[i % columns]);
}

/* Build layers from their descriptions; `take` unpacks their weights. */
function takeLayers(layers, take) {
  return layers.map(
    ({ inputs, outputs, activation, W, b }) =>
      new Layer(inputs, outputs, activation, take(W), b ? takeWeights(b) : null),
  );
}
