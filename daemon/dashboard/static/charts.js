// Drawing with plotly, which is loaded when everything else is there. Until then, and where it cannot be had, the same
// figures are drawn by hand: lines without axes, which the words beside them explain.

import { h } from "./dom.js";
import { sketch } from "./sketch.js";

let loading;
let ready;

// Return the library. Rejects where it is not installed or cannot be loaded.
export function library() {
  loading ||= new Promise((settle, refuse) => {
    const address = document.querySelector('meta[name="charts"]').content;
    if (!address)
      return refuse(new Error("The chart library (the Python package plotly) is not installed: charts stay plain."));
    // its part for maps writes a style of its own into the page, which the page's policy refuses; no map is drawn
    const own = document.head.appendChild;
    document.head.appendChild = (one) => (one.tagName === "STYLE" ? one : own.call(document.head, one));
    const done = (end, value) => () => {
      delete document.head.appendChild;
      end(value || (ready = window.Plotly));
    };
    const script = h("script", {
      src: address,
      onload: done(settle),
      onerror: done(refuse, new Error("The chart library could not be loaded: charts stay plain.")),
    });
    document.head.append(script);
  });
  return loading;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// The colours of the page as it is now, for traces.
export function palette() {
  return {
    ink: colour("--ink"),
    dim: colour("--dim"),
    line: colour("--line"),
    accent: colour("--accent"),
    band: colour("--band"),
    band2: colour("--band-2"),
    bad: colour("--bad"),
    shade: colour("--shade"),
    shadeDeep: colour("--shade-deep"),
    card: colour("--card"),
  };
}

export function layout(more) {
  const { ink, dim, line, card } = palette();
  const axis = {
    gridcolor: line,
    linecolor: line,
    zeroline: false,
    tickfont: { color: dim, size: 12 },
    automargin: true,
  };
  const { xaxis, yaxis, ...rest } = more;
  return {
    font: { family: 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif', color: ink, size: 13 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 8, t: 8, b: 8 },
    showlegend: false,
    hovermode: "x unified",
    hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink } },
    dragmode: "zoom",
    ...rest,
    xaxis: {
      type: "date",
      showgrid: false,
      tickangle: 0,
      nticks: innerWidth < 600 ? 4 : 8,
      tickformatstops: TICKS,
      ...axis,
      ...xaxis,
    },
    yaxis: { fixedrange: true, rangemode: "tozero", ...axis, ...yaxis },
  };
}

const TICKS = [
  { dtickrange: [null, 60_000], value: "%H:%M:%S" },
  { dtickrange: [60_000, 86_400_000], value: "%H:%M\n%-d %b" },
  { dtickrange: [86_400_000, null], value: "%-d %b" },
];

// Plotly shows the digits of its dates and has no time zones: it is handed the reader's own clock.
export function local(ms) {
  const then = new Date(ms);
  return new Date(ms - then.getTimezoneOffset() * 60_000).toISOString().slice(0, 23);
}

export const fromLocal = (text) => new Date(String(text).replace(" ", "T")).getTime();

const watched = new Map();

// Draw into `place`. `drawn` is made anew with the colours of the page whenever those change.
export async function draw(place, make) {
  if (!ready) {
    sketch(place, make());
    performance.mark("sketched");
  }
  await calm();
  const plotly = await library();
  if (!watched.has(place)) place.replaceChildren();
  const { traces, layout: wanted } = make();
  await plotly.react(place, traces, wanted, {
    displayModeBar: false,
    responsive: false,
    doubleClick: false,
    scrollZoom: false,
  });
  if (!watched.has(place)) {
    let width = place.clientWidth;
    new ResizeObserver(() => {
      if (Math.abs(place.clientWidth - width) < 2) return;
      width = place.clientWidth;
      requestAnimationFrame(() => place.checkVisibility() && plotly.Plots.resize(place)); // hidden, it would complain
    }).observe(place);
  }
  watched.set(place, make);
}

// Wait until the browser has shown what it has: the library takes a moment to be read.
const calm = () =>
  ready
    ? null
    : new Promise((settle) =>
        "requestIdleCallback" in window ? requestIdleCallback(settle, { timeout: 2000 }) : setTimeout(settle, 200),
      );

export async function redrawAll() {
  for (const [place, make] of watched) if (place.isConnected) await draw(place, make);
}

// Words come from hosts: the chart library would take some of them for markup.
export const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// A band between two lines, and the line within it.
export function band(x, low, high, fill, name) {
  const edge = { x, mode: "lines", line: { width: 0 }, hoverinfo: "skip", connectgaps: false };
  return [
    { ...edge, y: low, name },
    { ...edge, y: high, fill: "tonexty", fillcolor: fill, name },
  ];
}
