// Figures and times as people say them. Times are those of the reader's clock; the full moment is in the title.

import { h } from "./dom.js";

export const DAY_MS = 86_400_000;
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const clockSeconds = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const dateYear = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const whole = new Intl.NumberFormat("en-GB");

export const count = (number) => whole.format(number);

// Return `number` things: "1 alert", "3 alerts".
export const several = (number, thing, things = `${thing}s`) => `${count(number)} ${number === 1 ? thing : things}`;

function figures(value) {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 100) return count(Math.round(value));
  if (size >= 10) return value.toFixed(1).replace(/\.0$/, "");
  return Number(value.toPrecision(2)).toString();
}

export function percent(share) {
  if (share === null || share === undefined) return "not known";
  const hundredth = share * 100;
  if (hundredth > 0 && hundredth < 0.1) return "below 0.1 %";
  return `${hundredth >= 10 || hundredth === 0 ? Math.round(hundredth) : hundredth.toFixed(1).replace(/\.0$/, "")} %`;
}

// A probability: what is next to nothing or to certain is told as that.
export function chance(share) {
  if (share === null || share === undefined) return "not known";
  if (share < 0.01) return "below 1 %";
  return share > 0.99 ? "above 99 %" : `${Math.round(share * 100)} %`;
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let place = 0;
  let left = value;
  while (Math.abs(left) >= 1000 && place < units.length - 1) {
    left /= 1024;
    place += 1;
  }
  return `${figures(left)} ${units[place]}`;
}

export function duration(seconds) {
  const size = Math.abs(seconds);
  if (size < 0.001) return `${figures(seconds * 1e6)} µs`;
  if (size < 1) return `${figures(seconds * 1e3)} ms`;
  if (size < 120) return `${size < 10 && size % 1 ? figures(seconds) : Math.round(seconds)} s`;
  if (size < 7200) return `${Math.round(seconds / 60)} min`;
  if (size < 172_800) return `${Math.round(seconds / 3600)} h`;
  if (size < 86_400 * 90) return `${Math.round(seconds / 86_400)} days`;
  return `${(seconds / 2_629_800).toFixed(0)} months`;
}

export function amount(value, unit) {
  if (value === null || value === undefined) return "missing";
  switch (unit) {
    case "ratio":
      return Math.abs(value) > 2 ? figures(value) : percent(value);
    case "bytes":
      return bytes(value);
    case "bytes_per_second":
      return `${bytes(value)}/s`;
    case "per_second":
      return `${figures(value)}/s`;
    case "seconds":
      return duration(value);
    case "celsius":
      return `${figures(value)} °C`;
    default:
      return figures(value);
  }
}

// Return a moment: today by its clock, else with its day. `exact` has seconds.
export function moment(time, exact = false) {
  const then = new Date(time);
  const hours = (exact ? clockSeconds : clock).format(then);
  const now = new Date();
  if (then.toDateString() === now.toDateString()) return hours;
  return `${(then.getFullYear() === now.getFullYear() ? date : dateYear).format(then)}, ${hours}`;
}

export function day(time) {
  const then = new Date(time);
  return (then.getFullYear() === new Date().getFullYear() ? date : dateYear).format(then);
}

export function ago(time) {
  const seconds = (Date.now() - new Date(time).getTime()) / 1000;
  if (seconds < 5) return "just now";
  return seconds < 0 ? `in ${duration(-seconds)}` : `${duration(Math.round(seconds))} ago`;
}

// A moment that says its age, kept up by `keepTime`.
export function when(time, form = "ago") {
  if (!time) return h("span", {}, "never");
  const iso = new Date(time).toISOString();
  const text = form === "ago" ? ago(time) : form === "day" ? day(time) : moment(time);
  return h("time", { datetime: iso, title: new Date(time).toString(), "data-form": form }, text);
}

export function keepTime() {
  for (const one of document.querySelectorAll('time[data-form="ago"]')) {
    const text = ago(one.dateTime);
    if (one.textContent !== text) one.textContent = text;
  }
}

// Begin a sentence with a capital, unless it begins with the name of something: cpu.busy, backup.service.
export const sentence = (text) =>
  /^[a-z]+(?:[ ,:]|$)/.test(text || "") ? text[0].toUpperCase() + text.slice(1) : text || "";

// The words of the daemon's own units, signals and states, spoken.
export const SEVERITIES = { critical: "page", warning: "ticket", info: "record" };
export const ODD = {
  above: "too high",
  below: "too low",
  rising: "rising",
  falling: "falling",
  changeable: "changing too much",
  flat: "changing too little",
  apart: "out of step with others",
};
