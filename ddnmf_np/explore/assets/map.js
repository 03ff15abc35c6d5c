"use strict";

/* The map of samples: points in the plane, coloured by group. The pointer or the arrow keys move a
 * cursor. The map does not know the model; it calls onChoose with the chosen sample. */

/* Colours of the package's pictures (Paul Tol's "muted" scheme), and brighter ones of the same hues
 * for a dark page. The eleventh group has the first colour again, with the next marker. */
const GROUP_COLORS = {
  light: [
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933",
    "#ddcc77", "#cc6677", "#882255", "#aa4499", "#000000",
  ],
  dark: [
    "#9a90f0", "#88ccee", "#44aa99", "#3f9c5d", "#a8a83c",
    "#ddcc77", "#e07f8f", "#c2568b", "#d68fcb", "#f2f2f2",
  ],
};
const MARKERS = 4; // circle, square, diamond, triangle

/* Add marker number 0 to MARKERS - 1 to the path of a context, at x, y, with radius r. */
function tracePath(context, marker, x, y, r) {
  if (marker === 0) {
    context.moveTo(x + r, y);
    context.arc(x, y, r, 0, 2 * Math.PI);
    return;
  }
  const corners = [
    [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
    [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]],
    [[0, -1.2], [1.1, 0.8], [-1.1, 0.8]],
  ][marker - 1];
  corners.forEach(([dx, dy], k) => context[k ? "lineTo" : "moveTo"](x + dx * r, y + dy * r));
  context.closePath();
}

/* Return the colour and the marker of a group. */
function styleOf(color) {
  const colors = GROUP_COLORS[theme()];
  return {
    color: colors[color % colors.length],
    marker: Math.floor(color / colors.length) % MARKERS,
  };
}

class SampleMap {
  /* points: x, y of each sample, in [0, 1], y upwards. The map calls onCursor(sample or null, x, y)
   * when the cursor moves, in pixels of the canvas, and onChoose(sample) on a click or Enter. */
  constructor(canvas, points, { onCursor, onChoose }) {
    Object.assign(this, { canvas, points, onCursor, onChoose });
    this.count = points.length / 2;
    this.cursor = null;
    this.current = null; // the sample that is loaded
    this.nearest = null; // the sample whose code is nearest to the sliders
    this.ground = document.createElement("canvas"); // all points; redrawn only when they change
    new ResizeObserver(() => this.redraw()).observe(canvas);
    canvas.addEventListener("pointermove", (event) => this.point(this.under(event)));
    canvas.addEventListener("pointerleave", () => this.point(null));
    canvas.addEventListener("click", (event) => {
      const sample = this.under(event);
      if (sample !== null) this.choose(sample);
    });
    canvas.addEventListener("focus", () => {
      if (canvas.matches(":focus-visible")) this.point(this.cursor ?? this.current ?? 0);
    });
    canvas.addEventListener("blur", () => this.point(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /* groups: the number of each sample's group, or null; colors and names are indexed by it. */
  color(groups, colors, names) {
    Object.assign(this, { groups, colors, names });
    this.redraw();
  }

  redraw() {
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth, clientHeight } = this.canvas;
    this.width = clientWidth;
    this.height = clientHeight;
    for (const canvas of [this.canvas, this.ground]) {
      canvas.width = Math.max(1, Math.round(clientWidth * ratio));
      canvas.height = Math.max(1, Math.round(clientHeight * ratio));
    }
    const context = this.ground.getContext("2d");
    context.scale(ratio, ratio);
    this.drawPoints(context);
    if (this.groups && this.names.length <= 12) this.drawNames(context);
    this.drawMarks();
  }

  /* Return the place of a sample on the canvas. */
  place(sample) {
    const margin = 12;
    const side = Math.min(this.width, this.height) - 2 * margin;
    return [
      (this.width - side) / 2 + side * this.points[2 * sample],
      (this.height + side) / 2 - side * this.points[2 * sample + 1],
    ];
  }

  radius() {
    return Math.min(Math.max(Math.sqrt(4000 / this.count), 2.2), 6) * (this.width < 400 ? 0.8 : 1);
  }

  drawPoints(context) {
    const r = this.radius();
    context.lineWidth = 0.5;
    context.strokeStyle = css("outline");
    const numbers = this.groups ? this.names.map((_, k) => k) : [null];
    for (const group of numbers) {
      const { color, marker } =
        group === null ? { color: css("bar"), marker: 0 } : styleOf(this.colors[group]);
      context.fillStyle = color;
      context.beginPath();
      for (let sample = 0; sample < this.count; sample++) {
        if (group === null || this.groups[sample] === group) {
          tracePath(context, marker, ...this.place(sample), r);
        }
      }
      context.fill();
      context.stroke();
    }
  }

  /* Write the name of each group where its points are densest, for those who see no colours. */
  drawNames(context) {
    context.font = "bold 15px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineJoin = "round";
    context.lineWidth = 4;
    context.strokeStyle = css("panel");
    context.fillStyle = css("text");
    this.names.forEach((name, group) => {
      const place = this.densest(group);
      if (place === null) return;
      context.strokeText(name, ...place);
      context.fillText(name, ...place);
    });
  }

  /* Return the point of a group that has a third of the group nearest to it. The mean would be
   * wrong: for a group in two pieces it lies between them, perhaps on another group. */
  densest(group) {
    let places = [];
    for (let sample = 0; sample < this.count; sample++) {
      if (this.groups[sample] === group) places.push(this.place(sample));
    }
    const every = Math.ceil(places.length / 150); // some are enough
    places = places.filter((_, k) => k % every === 0);
    let best = null;
    let least = Infinity;
    for (const [x, y] of places) {
      const apart = places.map(([u, v]) => Math.hypot(u - x, v - y)).sort((a, b) => a - b);
      const third = apart[Math.floor(apart.length / 3)];
      if (third < least) [best, least] = [[x, y], third];
    }
    return best;
  }

  /* Draw the points, and rings around three of them. */
  drawMarks() {
    const context = this.canvas.getContext("2d");
    const ratio = this.canvas.width / Math.max(this.width, 1);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.drawImage(this.ground, 0, 0);
    context.scale(ratio, ratio);
    const ring = (sample, r, color, width) => {
      if (sample === null) return;
      context.beginPath();
      context.arc(...this.place(sample), r, 0, 2 * Math.PI);
      context.lineWidth = width + 3;
      context.strokeStyle = css("panel");
      context.stroke();
      context.lineWidth = width;
      context.strokeStyle = color;
      context.stroke();
    };
    ring(this.current, 8, css("text"), 2);
    if (this.nearest !== this.current) ring(this.nearest, 11, css("student"), 3);
    ring(this.cursor, 7, css("focus"), 2);
  }

  /* Return the sample nearest to the pointer, or null if none is near. */
  under(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = null;
    let least = 14;
    for (let sample = 0; sample < this.count; sample++) {
      const [u, v] = this.place(sample);
      const distance = Math.hypot(u - x, v - y);
      if (distance < least) [best, least] = [sample, distance];
    }
    return best;
  }

  point(sample) {
    if (sample === this.cursor && sample !== null) return;
    this.cursor = sample;
    this.drawMarks();
    this.onCursor(sample, ...(sample === null ? [0, 0] : this.place(sample)));
  }

  choose(sample) {
    this.canvas.focus();
    this.point(sample);
    this.onChoose(sample);
  }

  /* Arrows go to the nearest point on that side. PageUp and PageDown go through all samples in
   * order, so that every sample can be reached. Enter and space load. */
  key(event) {
    const from = this.cursor ?? this.current ?? 0;
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const jumps = { Home: 0, End: this.count - 1, PageUp: from - 1, PageDown: from + 1 };
    if (event.key === "Enter" || event.key === " ") this.choose(from);
    else if (event.key in arrows) this.point(this.beside(from, arrows[event.key]));
    else if (event.key in jumps) {
      this.point(Math.min(Math.max(jumps[event.key], 0), this.count - 1));
    } else return;
    event.preventDefault();
  }

  beside(from, [dx, dy]) {
    const [x, y] = this.place(from);
    let best = from;
    let least = Infinity;
    for (let sample = 0; sample < this.count; sample++) {
      const [u, v] = this.place(sample);
      const along = (u - x) * dx + (v - y) * dy;
      const across = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
      // Only points within 45 degrees of the direction; prefer straight ahead to near.
      if (along > 0.5 && across <= along && along + 2 * across < least) {
        [best, least] = [sample, along + 2 * across];
      }
    }
    return best;
  }
}
