"use strict";

/* What the pages share: elements, errors, announcements, and the theme. A page has elements `notes`,
 * `live` and `theme` for these.
 */

/* Show errors on the page, because nobody reads the console. */
window.addEventListener("error", (event) => {
  byId("notes").hidden = false;
  byId("notes").append(make("li", `This page has met an error: ${event.message}. Please reload it.`));
});

function byId(id) {
  return document.getElementById(id);
}

/* Return a new element with text and attributes. */
function make(tag, text = "", attributes = {}) {
  const element = document.createElement(tag);
  element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/* Announce a text to screen readers. */
function say(text) {
  byId("live").textContent = text;
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  byId("theme").textContent = name === "dark" ? "Light colours" : "Dark colours";
}

/* Follow the system's theme until the button `theme` chooses another. `redraw` draws everything that
 * has colours; `stop` is called before the page is printed, in light colours. */
function setUpTheme(redraw, stop) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  const wished = () => chosen ?? (dark.matches ? "dark" : "light");
  const apply = (name) => {
    setTheme(name);
    redraw();
  };
  setTheme(wished());
  dark.addEventListener("change", () => apply(wished()));
  byId("theme").addEventListener("click", () => {
    chosen = theme() === "dark" ? "light" : "dark";
    apply(chosen);
  });
  window.addEventListener("beforeprint", () => {
    stop();
    apply("light"); // on paper
  });
  window.addEventListener("afterprint", () => apply(wished()));
}
