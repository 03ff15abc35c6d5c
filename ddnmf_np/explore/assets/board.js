"use strict";

/* A board on which one draws an image with the pointer or with keys; `onChange` gets its values. */
class Board {
  constructor(canvas, onChange) {
    Object.assign(this, { canvas, onChange, at: [0, 0], shape: [8, 8], values: new Float64Array(64), last: [0, 0] });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.paintAt(event);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (canvas.hasPointerCapture(event.pointerId)) this.paintAt(event);
    });
    canvas.addEventListener("keydown", (event) => this.onKey(event));
    for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, () => this.show());
  }

  reset(shape) {
    this.shape = shape;
    this.at = shape.map((size) => Math.floor(size / 2));
    this.values = new Float64Array(shape[0] * shape[1]);
    this.show();
  }

  /* Put ink from where the pointer was, if it is down, to where it is, and less around it. */
  paintAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [height, width] = this.shape;
    const y = ((event.clientY - box.y) / box.height) * height;
    const x = ((event.clientX - box.x) / box.width) * width;
    const [v, u] = event.type === "pointermove" ? this.last : [y, x];
    this.last = [y, x];
    const radius = Math.max(1.5, width / 12);
    const steps = Math.ceil(2 * Math.hypot(y - v, x - u)) || 1;
    for (let step = 1; step <= steps; step++) {
      const t = step / steps;
      for (let i = 0; i < height; i++) {
        for (let j = 0; j < width; j++) {
          const distance = Math.hypot(i + 0.5 - v - t * (y - v), j + 0.5 - u - t * (x - u));
          const ink = Math.min(1, Math.max(0, radius - distance));
          this.values[i * width + j] = Math.max(this.values[i * width + j], ink);
        }
      }
    }
    this.changed();
  }

  onKey(event) {
    const [height, width] = this.shape;
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (event.key in moves) {
      const [di, dj] = moves[event.key];
      this.at = [(this.at[0] + di + height) % height, (this.at[1] + dj + width) % width];
      this.show();
    } else if (event.key === " ") {
      const place = this.at[0] * width + this.at[1];
      this.values[place] = this.values[place] > 0.5 ? 0 : 1;
      this.changed();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  changed() {
    this.show();
    this.onChange(this.values);
  }

  /* Draw the image, and the cursor while the board has the focus. */
  show() {
    paintImage(this.canvas, this.values, this.shape, { low: 0, high: 1 });
    if (document.activeElement !== this.canvas) return;
    const context = this.canvas.getContext("2d");
    context.fillStyle = css("student");
    context.globalAlpha = 0.6;
    context.fillRect(this.at[1], this.at[0], 1, 1);
  }
}
