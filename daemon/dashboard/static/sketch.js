// The chart library's figures drawn by hand: bands, lines, thresholds, spans of time; no axes, which words replace.
//
// A page that waits for 5 MB of library shows these at once; where the library never comes they stay.

import { svg } from "./dom.js";

const WIDTH = 1000;
const HEIGHT = 250;

// Draw `traces` and `shapes` as they are handed to the library.
export function sketch(place, { traces, layout: { xaxis, yaxis, shapes = [] } }) {
  const to = scales(traces, xaxis, yaxis);
  if (!to) return;
  const spans = shapes.filter((one) => one.type === "rect").map((one) => span(one, to));
  const drawn = traces.map((one, spot) => (one.fill ? filled(one, traces[spot - 1], to) : line(one, to)));
  const limits = shapes
    .filter((one) => one.type === "line")
    .map((one) => stroke(`M0 ${to.y(one.y0)}H${WIDTH}`, one.line));
  const view = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", class: "sketch" };
  place.replaceChildren(svg("svg", view, ...[...spans, ...drawn, ...limits].filter(Boolean)));
}

// Return how a time and a value become places on the paper, null where there is no value.
function scales(traces, xaxis, yaxis) {
  const values = traces.flatMap((one) => one.y).filter((one) => one !== null);
  if (!values.length) return null;
  const times = traces.flatMap((one) => one.x).map(Date.parse);
  const [left, right] = xaxis?.range?.map(Date.parse) || [Math.min(...times), Math.max(...times)];
  const [low, high] = yaxis?.range || [Math.min(0, ...values), Math.max(...values)];
  return {
    x: (time) => (((Date.parse(time) - left) / (right - left || 1)) * WIDTH).toFixed(1),
    y: (value) => (HEIGHT - ((value - low) / (high - low || 1)) * HEIGHT).toFixed(1),
  };
}

function line({ x, y, line: style }, to) {
  if (!style.width) return null;
  let open = false;
  let path = "";
  y.forEach((value, spot) => {
    if (value !== null) path += `${open ? "L" : "M"}${to.x(x[spot])} ${to.y(value)}`;
    open = value !== null;
  });
  return stroke(path, style);
}

// Fill between two lines, where both are known.
function filled(upper, under, to) {
  const known = upper.x.map((_, spot) => spot).filter((spot) => upper.y[spot] !== null && under.y[spot] !== null);
  if (!known.length) return null;
  const edge = (one, spots) => spots.map((spot) => `${to.x(one.x[spot])} ${to.y(one.y[spot])}`);
  const around = [...edge(upper, known), ...edge(under, known.reverse())];
  return svg("path", { d: `M${around.join("L")}Z`, fill: upper.fillcolor, stroke: "none" });
}

function span({ x0, x1, fillcolor }, to) {
  return svg("rect", { x: to.x(x0), y: 0, width: Math.max(1, to.x(x1) - to.x(x0)), height: HEIGHT, fill: fillcolor });
}

function stroke(d, { color, width, dash }) {
  return svg("path", {
    d,
    fill: "none",
    stroke: color,
    "stroke-width": width,
    "stroke-dasharray": { dot: "3 3", dash: "6 5" }[dash] || "none",
    "vector-effect": "non-scaling-stroke",
  });
}
