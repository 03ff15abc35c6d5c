"use strict";

/* A tour of seven stops for a lesson: text beside the picture. Each stop sets the page; `page` has
 * the functions that do so, see playground.js. */
const STOPS = [
  {
    title: "What is a layer?",
    text:
      "Every box is one layer: h = f(W x + b), equation 1. Here is the supervisor's first layer for the " +
      "chosen image. Each row of W is multiplied with the image and summed; then ReLU sets negative sums " +
      "to 0. Move the slider \u201cunit\u201d to read the sum of another unit with its numbers.",
    show: "#forward-numbers",
    set: (page) => page.look("supervisor", 1),
  },
  {
    title: "What is f\u2032?",
    text:
      "f\u2032 says how much the output of a unit follows its sum. The paper writes it as a diagonal matrix, " +
      "because each output depends on its own sum only. For ReLU it is 0 or 1; for the sigmoid of H, " +
      "here, it is H (1 \u2212 H), at most 1/4. Where f\u2032 is 0, the signal dies: \u03b4 = f\u2032 g is 0.",
    show: "#backward-pictures",
    set: (page) => page.look("student", 3),
  },
  {
    title: "Why an outer product?",
    text:
      "The weight from input k to unit i acts only through z of unit i, and there it is multiplied with " +
      "x of k. So its gradient is \u03b4 of i times x of k: one product for each pair, the outer product \u03b4 x\u1d40. " +
      "Each row is the input image, red or blue by \u03b4. Drag the slider under dW: the batch adds up one such picture per image.",
    show: "#backward-pictures",
    set: (page) => page.look("supervisor", 1),
  },
  {
    title: "Where is the student pulled?",
    text:
      "Equation 10: a student layer gets a signal from above, and one from each loss that compares its own " +
      "output. The bars show them for the code X: L_ap pulls it to the supervisor's code, L_nc to what " +
      "the NMF module makes of it. g is their sum. Press \u201cOne term\u201d to add them one by one.",
    show: "#parts",
    set: (page) => page.look("student", 2),
  },
  {
    title: "What collapses without L_ap?",
    text:
      "The weight of L_ap is now 0, and training goes on. Only L_nc is left for the student, and it is " +
      "content when X and X\u0302 are both 0. Watch the codes H under the ten images: they become the same. " +
      "The supervisor does not notice, because equation 9 leaves the student out.",
    show: "#samples",
    set: (page) => {
      page.restart({ preset: "paper", changes: { beta_ap: 0 }, bug: null });
      page.look("student", 3);
      page.play();
    },
  },
  {
    title: "Why can a check be fooled?",
    text:
      "Layer 2 of the student now returns dW with its rows in reverse order. Its norm and its sum are right, so a " +
      "check along all ones accepts it, and the loss still falls for a while. Our check steps in random " +
      "directions of +1 and \u22121: the lamp of the layer turns red.",
    show: "#bugs",
    set: (page) => {
      page.restart({ preset: "paper", changes: {}, bug: ["rows", "student", 2] });
      page.play();
    },
  },
  {
    title: "What does H mean?",
    text:
      "Without the bug again. H has one number between 0 and 1 for each base unit, and X\u0302 = ReLU(W H) adds " +
      "the columns of W by these numbers, as a non-negative factorization does. Images of one digit get " +
      "similar codes, which is what we cluster. Draw your own digit and see its H.",
    show: "#draw",
    set: (page) => {
      page.restart({ preset: "stable", changes: {}, bug: null });
      page.look("student", 3);
      page.play();
    },
  },
];

class Tour {
  constructor(page) {
    Object.assign(this, { page, stop: null });
    byId("start-tour").addEventListener("click", () => this.go(0));
    byId("tour-back").addEventListener("click", () => this.go(this.stop - 1));
    byId("tour-next").addEventListener("click", () => {
      if (this.stop === STOPS.length - 1) this.end();
      else this.go(this.stop + 1);
    });
    byId("tour-end").addEventListener("click", () => this.end());
  }

  go(stop) {
    this.stop = stop;
    const { title, text, show, set } = STOPS[stop];
    byId("tour").hidden = false;
    byId("tour-title").textContent = title;
    byId("tour-place").textContent = `stop ${stop + 1} of ${STOPS.length}`;
    byId("tour-text").textContent = text;
    byId("tour-back").disabled = stop === 0;
    byId("tour-next").textContent = stop === STOPS.length - 1 ? "Finish" : "Next";
    set(this.page);
    this.mark(show);
    say(`${title} ${text}`);
    byId("tour-next").focus({ preventScroll: true });
  }

  mark(selector) {
    for (const section of document.querySelectorAll("section")) section.classList.remove("toured");
    if (!selector) return;
    const target = document.querySelector(selector);
    const section = target.closest("section");
    section.classList.add("toured");
    if (!section.hidden) target.scrollIntoView({ block: "center" });
  }

  end() {
    if (this.stop === null) return;
    this.stop = null;
    byId("tour").hidden = true;
    this.mark(null);
    byId("start-tour").focus({ preventScroll: true });
  }
}
