// Drawing with plotly, which is loaded after the words are there; where it is not, the words and tables remain.

import { h } from "./dom.js";

let loading;

// Return the library. Rejects where it is not installed or cannot be loaded.
export function library() {
  loading ||= new Promise((settle, refuse) => {
    const address = document.querySelector('meta[name="charts"]').content;
    if (!address) return refuse(new Error("The chart library (the Python package plotly) is not installed: figures are told as text."));
    const script = h("script", { src: address, onload: () => settle(window.Plotly), onerror: () => refuse(new Error("The chart library could not be loaded: figures are told as text.")) });
    document.head.append(script);
  });
  return loading;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// The colours of the page as it is now, for traces.
export function palette() {
  return {
    ink: colour("--ink"), dim: colour("--dim"), line: colour("--line"), accent: colour("--accent"), band: colour("--band"),
    band2: colour("--band-2"), bad: colour("--bad"), shade: colour("--shade"), shadeDeep: colour("--shade-deep"), card: colour("--card"),
  };
}

export function layout(more) {
  const { ink, dim, line, card } = palette();
  const axis = { gridcolor: line, linecolor: line, zeroline: false, tickfont: { color: dim, size: 12 }, automargin: true };
  const { xaxis, yaxis, ...rest } = more;
  return {
    font: { family: 'system-ui, -apple-system, "Segoe UI", Roboto, sans-serif', color: ink, size: 13 },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 8, r: 8, t: 8, b: 8 }, showlegend: false,
    hovermode: "x unified", hoverlabel: { bgcolor: card, bordercolor: line, font: { color: ink } }, dragmode: "zoom",
    ...rest, xaxis: { type: "date", showgrid: false, ...axis, ...xaxis }, yaxis: { fixedrange: true, rangemode: "tozero", ...axis, ...yaxis },
  };
}

// Plotly shows the digits of its dates and has no time zones: it is handed the reader's own clock.
export function local(ms) {
  const then = new Date(ms);
  return new Date(ms - then.getTimezoneOffset() * 60_000).toISOString().slice(0, 23);
}

export const fromLocal = (text) => new Date(String(text).replace(" ", "T")).getTime();

const watched = new Map();

// Draw into `place`. `drawn` is made anew with the colours of the page whenever those change.
export async function draw(place, make) {
  const plotly = await library();
  const { traces, layout: wanted } = make();
  await plotly.react(place, traces, wanted, { displayModeBar: false, responsive: false, doubleClick: false, scrollZoom: false });
  if (!watched.has(place)) {
    let width = place.clientWidth;
    new ResizeObserver(() => {
      if (Math.abs(place.clientWidth - width) < 2) return;
      width = place.clientWidth;
      requestAnimationFrame(() => plotly.Plots.resize(place));
    }).observe(place);
  }
  watched.set(place, make);
}

export async function redrawAll() {
  for (const [place, make] of watched) if (place.isConnected) await draw(place, make);
}

// Words come from hosts: the chart library would take some of them for markup.
export const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

// A band between two lines, and the line within it.
export function band(x, low, high, fill, name) {
  const edge = { x, mode: "lines", line: { width: 0 }, hoverinfo: "skip", connectgaps: false };
  return [{ ...edge, y: low, name }, { ...edge, y: high, fill: "tonexty", fillcolor: fill, name }];
}
