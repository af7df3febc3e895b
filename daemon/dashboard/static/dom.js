// Elements made by hand: text only ever becomes text, so no name of a mount or a unit can become markup.

const SVG = "http://www.w3.org/2000/svg";
const told = new WeakMap();

// Return an element. `attributes`: onX = a listener, a boolean = there or not, `style` = an object of properties.
export function h(tag, attributes, ...children) {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) one.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, to] of Object.entries(value)) one.style.setProperty(key, to);
    else one.setAttribute(name, value === true ? "" : String(value));
  }
  one.append(
    ...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false && child !== ""),
  );
  return one;
}

export function svg(tag, attributes, ...children) {
  const one = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes || {})) one.setAttribute(name, String(value));
  one.append(...children);
  return one;
}

export const at = (id) => document.getElementById(id);

// Fill `place` with what `build` makes of `data`; where the data is as before nothing is touched. What was open stays
// open and what had the focus keeps it, by its data-key.
export function show(place, data, build) {
  const text = JSON.stringify(data);
  if (told.get(place) === text) return;
  told.set(place, text);
  const open = new Set([...place.querySelectorAll("details[open][data-key]")].map((one) => one.dataset.key));
  const focused = place.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  place.replaceChildren(...[build(data)].flat(3).filter(Boolean));
  for (const one of place.querySelectorAll("details[data-key]")) if (open.has(one.dataset.key)) one.open = true;
  if (focused) [...place.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus();
}

// Let `place` be built anew at the next `show`.
export function forget(place) {
  told.delete(place);
}

// Say something to who cannot see what has changed, and for a moment to who can.
let fading;
export function say(text) {
  const place = at("said");
  place.textContent = text;
  place.dataset.shown = "";
  clearTimeout(fading);
  fading = setTimeout(() => delete place.dataset.shown, 4000 + 60 * text.length);
}

export function icon(kind) {
  const shapes = {
    critical: [
      ["path", { d: "M12 2 2 21h20L12 2Z", class: "filled" }],
      ["path", { d: "M12 9v5m0 3v.5", class: "cut" }],
    ],
    warning: [
      ["path", { d: "M12 3 2.5 20.5h19L12 3Z" }],
      ["path", { d: "M12 10v4m0 3v.2" }],
    ],
    info: [
      ["circle", { cx: 12, cy: 12, r: 9 }],
      ["path", { d: "M12 11v5m0-8.5v.2" }],
    ],
    calm: [
      ["circle", { cx: 12, cy: 12, r: 9.5 }],
      ["path", { d: "m7.5 12.5 3 3 6-7" }],
    ],
    learning: [
      ["circle", { cx: 12, cy: 12, r: 9 }],
      ["path", { d: "M12 6.5V12l4 2.5" }],
    ],
    gone: [
      ["circle", { cx: 12, cy: 12, r: 9 }],
      ["path", { d: "m8 8 8 8m0-8-8 8" }],
    ],
  };
  const parts = (shapes[kind] || shapes.info).map(([tag, attributes]) => svg(tag, attributes));
  return svg("svg", { viewBox: "0 0 24 24", class: `icon icon-${kind}`, "aria-hidden": "true" }, ...parts);
}

// A share as a bar; whoever cannot see it has the figure beside it.
export function bar(share, kind = "") {
  return h(
    "span",
    { class: `bar-track ${kind}`, "aria-hidden": "true" },
    h("span", { class: "bar-fill", style: { width: `${Math.max(0, Math.min(1, share)) * 100}%` } }),
  );
}
