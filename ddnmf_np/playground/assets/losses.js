"use strict";

/* Equations 4 to 7 as a table of terms, and their direct gradients (engine/losses.py). */

/* Return s(l), the student layer that equation 5 pairs with supervisor layer l. */
function appositive(l, depth) {
  return l <= depth / 2 ? l : l + 2;
}

/* Return the table: each term is weight ||a - b||^2 and trains the signals in `moves`. A signal is
 * [net, layer]; ["data", 0] is the clean sample. */
function lossTable(options, depth) {
  const { alpha_sym, beta_ap, gamma_nc, student_reconstruction } = options;
  const x = ["data", 0];
  const [y, yStudent] = [["supervisor", depth], ["student", depth + 2]];
  const [code, codeHat] = [["student", depth / 2], ["student", depth / 2 + 2]];
  const table = [{ loss: "sym", weight: alpha_sym, a: y, b: x, moves: [y] }]; // equation 4
  for (let l = 1; l <= depth; l++) {
    const [h, hStudent] = [["supervisor", l], ["student", appositive(l, depth)]];
    const moves = options.apposition_to_supervisor ? [hStudent, h] : [hStudent];
    table.push({ loss: "ap", weight: beta_ap, a: hStudent, b: h, moves }); // equation 5
  }
  table.push({ loss: "nc", weight: gamma_nc, a: code, b: codeHat, moves: [code, codeHat] }); // equation 6
  table.push({ loss: "rec", weight: student_reconstruction, a: yStudent, b: x, moves: [yStudent] });
  return table.filter((term) => term.weight > 0);
}

/* Equation 7 on two networks, `nets = { supervisor, student }`. */
class Loss {
  constructor(options, nets) {
    this.nets = nets;
    this.mean = options.reduction === "mean";
    this.terms = lossTable(options, nets.supervisor.depth);
    this.leaks = false; // a planted bug: L_ap moves the supervisor though the table says no
  }

  /* Return 1/N, or 1/(N width) if the loss is a mean over the features. */
  scale({ a }, n) {
    const [net, l] = a;
    return 1 / (this.mean ? n * this.nets[net].layers[l - 1].outputs : n);
  }

  read([net, l], x) {
    return net === "data" ? x : this.nets[net].h[l];
  }

  /* Return the losses of n samples by name; `total` is their weighted sum. With `net`, skip the
   * terms that do not train that network. */
  measure(x, n, net = null) {
    const values = { total: 0 };
    for (const term of this.terms) {
      if (net && !term.moves.some((signal) => signal[0] === net)) continue;
      const [a, b] = [this.read(term.a, x), this.read(term.b, x)];
      const size = n * this.nets[term.a[0]].layers[term.a[1] - 1].outputs;
      let sum = 0;
      for (let at = 0; at < size; at++) sum += (a[at] - b[at]) ** 2; // equations 4, 5 and 6
      const value = sum * this.scale(term, n);
      values[term.loss] = (values[term.loss] ?? 0) + value;
      values.total += term.weight * value; // equation 7
    }
    return values;
  }

  /* Return Grad[h] of a network by layer: for each term { loss, c, ref }, meaning c (h - ref). */
  directGradients(net, x, n) {
    const direct = {};
    for (const term of this.terms) {
      const c = 2 * term.weight * this.scale(term, n); // equations 9 and 10: 2 weight / N
      const leak = this.leaks && term.loss === "ap";
      for (const [end, ref] of [[term.a, term.b], [term.b, term.a]]) {
        const moved = term.moves.some(([n, l]) => n === end[0] && l === end[1]);
        if (end[0] !== net || !(moved || leak)) continue;
        (direct[end[1]] ??= []).push({ loss: term.loss, c, ref: this.read(ref, x) });
      }
    }
    return direct;
  }
}
