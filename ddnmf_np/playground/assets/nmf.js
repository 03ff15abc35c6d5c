"use strict";

/* Start of the NMF module at the principal components of the code (engine/nmf.py). */

/* Return the eigenvalues of a symmetric matrix (size, size), falling, and its eigenvectors as rows,
 * by Jacobi's rotations. */
function eigen(matrix, size) {
  const A = matrix.slice();
  const V = new Float64Array(size * size);
  for (let k = 0; k < size; k++) V[k * size + k] = 1;
  for (let sweep = 0; sweep < 60; sweep++) {
    let off = 0;
    for (let p = 0; p < size; p++) {
      for (let q = p + 1; q < size; q++) off += A[p * size + q] ** 2;
    }
    if (off === 0) break;
    for (let p = 0; p < size; p++) {
      for (let q = p + 1; q < size; q++) rotate(A, V, size, p, q);
    }
  }
  const values = Array.from({ length: size }, (_, k) => A[k * size + k]);
  const order = values.map((_, k) => k).sort((i, j) => values[j] - values[i]);
  return order.map((k) => ({ value: values[k], vector: V.slice(k * size, (k + 1) * size) }));
}

/* Rotate the plane (p, q) so that A[p, q] = 0; rows of V turn along. */
function rotate(A, V, size, p, q) {
  const apq = A[p * size + q];
  if (apq === 0) return;
  const theta = (A[q * size + q] - A[p * size + p]) / (2 * apq);
  const t = (theta >= 0 ? 1 : -1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
  const c = 1 / Math.sqrt(t * t + 1);
  const s = t * c;
  const turn = (M, i, j) => ([M[i], M[j]] = [c * M[i] - s * M[j], s * M[i] + c * M[j]]);
  for (let k = 0; k < size; k++) turn(A, k * size + p, k * size + q);
  for (let k = 0; k < size; k++) turn(A, p * size + k, q * size + k);
  for (let k = 0; k < size; k++) turn(V, p * size + k, q * size + k);
  A[p * size + q] = A[q * size + p] = 0;
}

/* Return X^T Y / n, (columns of X, columns of Y). */
function gram(X, Y, n) {
  const [a, b] = [X.length / n, Y.length / n];
  const out = new Float64Array(a * b);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < a; j++) addTo(out, j * b, X[i * a + j] / n, Y, i * b, b);
  }
  return out;
}

/* Replace the weights of base and recovery by ones that suit n codes, rows of width m. */
function startFromCode(base, recovery, code, n, spread) {
  const m = base.inputs;
  const mean = new Float64Array(m);
  for (let i = 0; i < n; i++) addTo(mean, 0, 1 / n, code, i * m, m);
  const centred = code.slice(0, n * m);
  for (let i = 0; i < n; i++) addTo(centred, i * m, -1, mean, 0, m);
  const square = dot(mean, 0, mean, 0, m);
  if (!base.bias && square > 0) {
    // z has mean 0 only if the weights are orthogonal to the mean of the code
    for (let i = 0; i < n; i++) addTo(centred, i * m, -dot(centred, i * m, mean, 0, m) / square, mean, 0, m);
  }
  const found = eigen(gram(centred, centred, n), m).slice(0, base.outputs);
  found.forEach(({ value, vector }, o) => {
    if (!(value > 1e-10 * Math.max(found[0].value, Number.MIN_VALUE))) return;
    const largest = vector.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a), 0);
    const scale = (spread * Math.sign(largest)) / Math.sqrt(value);
    for (let k = 0; k < m; k++) base.W[o * m + k] = scale * vector[k];
  });
  if (base.bias) {
    for (let o = 0; o < base.outputs; o++) base.b[o] = -dot(base.W, o * m, mean, 0, m);
  }
  recovery.W.set(leastSquares(code, outputsOf(base, code, n), n, m, base.outputs));
}

function outputsOf(layer, x, n) {
  const { f } = FUNCTIONS[layer.activation];
  const { inputs, outputs, W, b } = layer;
  return Float64Array.from({ length: n * outputs }, (_, at) => {
    const [i, o] = [Math.floor(at / outputs), at % outputs];
    return f((b ? b[o] : 0) + dot(W, o * inputs, x, i * inputs, inputs));
  });
}

/* Return W, (m, r), for which the squared distance of code and W H over n samples is least. */
function leastSquares(code, H, n, m, r) {
  const products = gram(H, code, n); // (r, m)
  const pairs = eigen(gram(H, H, n), r);
  const W = new Float64Array(m * r);
  for (const { value, vector } of pairs) {
    if (!(value > 1e-14 * pairs[0].value)) continue; // a direction in which H does not vary
    for (let j = 0; j < m; j++) {
      let along = 0;
      for (let k = 0; k < r; k++) along += vector[k] * products[k * m + j];
      addTo(W, j * r, along / value, vector, 0, r);
    }
  }
  return W;
}
