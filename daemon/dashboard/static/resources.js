// Every resource with what is used, when it runs out, and its forecast with bands.

import { at, bar, h, show } from "./dom.js";
import { ask } from "./api.js";
import { band, draw, layout, local, palette } from "./charts.js";
import { amount, chance, moment, percent, sentence } from "./words.js";

const FIRST = 6;

export class ResourceView {
  constructor() {
    this.chosen = "";
    this.horizon = "";
    this.all = false;
    this.told = null;
  }

  take(answer) {
    this.told = answer;
    if (!answer) return;
    const names = answer.forecasts.map((one) => one.resource);
    if (!names.includes(this.chosen)) this.chosen = names[0] || "";
    this.list();
    return this.chart();
  }

  list() {
    const { forecasts, problem } = this.told;
    show(
      at("resources-list"),
      [forecasts.map((one) => [one.resource, one.used_ratio, one.exhaustion]), problem, this.chosen, this.all],
      () => {
        if (!forecasts.length)
          return h("p", { class: "empty" }, problem || "No resource is known yet: the first sample tells of them.");
        const shown = this.all ? forecasts : forecasts.slice(0, FIRST);
        return [
          h(
            "ul",
            { class: "resources" },
            shown.map((one) => this.row(one)),
          ),
          forecasts.length > FIRST
            ? h(
                "button",
                {
                  type: "button",
                  class: "link",
                  "data-key": "more",
                  onclick: () => {
                    this.all = !this.all;
                    this.list();
                  },
                },
                this.all ? "Fewer" : `All ${forecasts.length}`,
              )
            : null,
        ];
      },
    );
  }

  row(one) {
    const soon = one.exhaustion.probability["24h"] ?? 0;
    const mood = soon >= 0.5 ? "bad" : (one.exhaustion.probability["30d"] ?? 0) >= 0.5 ? "warn" : "";
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: "resource",
          "data-key": one.resource,
          "aria-pressed": String(one.resource === this.chosen),
          onclick: () => this.choose(one.resource),
        },
        h("span", { class: "resource-name" }, one.resource),
        h(
          "span",
          { class: "number" },
          percent(one.used_ratio),
          h("span", { class: "dim" }, one.unit === "ratio" ? "" : ` of ${amount(one.capacity, one.unit)}`),
        ),
        bar(one.used_ratio, mood),
        h("span", { class: mood ? `words words-${mood}` : "words dim" }, sentence(one.exhaustion.text)),
      ),
    );
  }

  choose(name) {
    this.chosen = name;
    this.list();
    return this.chart();
  }

  async chart() {
    const place = at("resources-chart");
    const brief = this.told.forecasts.find((one) => one.resource === this.chosen);
    if (!brief) return place.replaceChildren();
    const made = brief.horizons.filter((one) => !one.needs);
    if (!made.length)
      return show(place, [this.chosen, brief.horizons.map((one) => one.needs)], () =>
        h(
          "p",
          { class: "empty" },
          brief.horizons.length
            ? `No forecast of ${this.chosen} yet: ${brief.horizons.map((one) => `the one of ${one.name} ${one.needs}`).join(", ")}.`
            : "The first forecasts are made within a minute of the start.",
        ),
      );
    let one = brief;
    try {
      one = (await ask(`forecasts?resource=${encodeURIComponent(this.chosen)}`)).forecasts[0];
    } catch {
      // what is told of all has no history: the forecast alone is drawn
    }
    if (one.resource !== this.chosen) return undefined;
    const ready = one.horizons.filter((each) => !each.needs);
    const horizon = ready.find((each) => each.name === this.horizon) || ready[0];
    const text = this.words(one, horizon);
    show(place, [one.resource, horizon.name, text, one.explanation, one.exhaustion], () =>
      this.frame(one, ready, horizon, text),
    );
    const plot = place.querySelector(".plot");
    return draw(plot, () => this.picture(one, horizon)).catch(() => {}); // the sketch stays
  }

  frame(one, ready, horizon, text) {
    const chances = Object.entries(one.exhaustion.probability).map(([within, value]) =>
      h(
        "li",
        {},
        h("span", { class: "dim" }, `within ${within.replace(/(?=[hd]$)/, " ")}`),
        h("strong", { class: "number" }, chance(value)),
      ),
    );
    return h(
      "figure",
      {},
      h(
        "div",
        { class: "head" },
        h("h3", {}, one.resource),
        h(
          "div",
          { class: "choices", role: "group", "aria-label": "How far ahead" },
          ready.map((each) =>
            h(
              "button",
              {
                type: "button",
                "data-key": `horizon-${each.name}`,
                "aria-pressed": String(each === horizon),
                onclick: () => {
                  this.horizon = each.name;
                  this.chart();
                },
              },
              each.name,
            ),
          ),
        ),
      ),
      h("ul", { class: "chips", "aria-label": "How likely it is used up" }, chances),
      h("div", { class: "plot", role: "img", "aria-label": text }),
      h(
        "figcaption",
        { class: "dim" },
        text,
        one.explanation.length
          ? h(
              "ul",
              { class: "plain" },
              one.explanation.map((line) => h("li", {}, sentence(line))),
            )
          : null,
      ),
    );
  }

  words(one, horizon) {
    const end = horizon.mean.length - 1;
    const last = moment(horizon.start_ms + end * horizon.step_seconds * 1000);
    const told = `By ${last}, ${percent(horizon.mean[end])} used is expected; with 80 % probability ${percent(horizon.lo80[end])} to ${percent(horizon.hi80[end])}.`;
    const when = one.exhaustion.median_ms
      ? ` Used up: most likely ${moment(one.exhaustion.median_ms)} (${one.exhaustion.lo80_ms ? moment(one.exhaustion.lo80_ms) : "earlier"} to ${one.exhaustion.hi80_ms ? moment(one.exhaustion.hi80_ms) : "never"}).`
      : "";
    const grade = horizon.accuracy
      ? ` Of ${horizon.accuracy.forecasts} past forecasts, ${percent(horizon.accuracy.coverage80)} of what came lay in the 80 % band.`
      : "";
    return told + when + grade;
  }

  picture(one, horizon) {
    const { accent, band: inner, band2: outer, bad, ink } = palette();
    const step = horizon.step_seconds * 1000;
    const times = horizon.mean.map((_, place) => local(horizon.start_ms + place * step));
    const history = horizon.history || [];
    const last = history.at(-1);
    const join = (line) => (last ? [last[1], ...line] : line);
    const x = last ? [local(last[0]), ...times] : times;
    const floor = 1 - one.floor_ratio;
    const shown = [...history.map(([, share]) => share), ...horizon.hi80];
    const top = Math.min(1.05, Math.max(...shown) * 1.3 + 0.02);
    const full = top >= floor || one.exhaustion.median_ms !== null;
    return {
      traces: [
        ...band(x, join(horizon.lo95), join(horizon.hi95), outer),
        ...band(x, join(horizon.lo80), join(horizon.hi80), inner),
        {
          x: history.map(([time]) => local(time)),
          y: history.map(([, share]) => share),
          mode: "lines",
          line: { color: ink, width: 1.6 },
          name: "used",
          hovertemplate: "%{y:.1%} used",
        },
        {
          x,
          y: join(horizon.mean),
          mode: "lines",
          line: { color: accent, width: 2, dash: "dot" },
          name: "expected",
          hovertemplate: "%{y:.1%} expected",
        },
      ],
      layout: layout({
        height: 240,
        yaxis: { tickformat: ".0%", range: [0, full ? 1.05 : top] },
        shapes: full
          ? [
              {
                type: "line",
                xref: "paper",
                x0: 0,
                x1: 1,
                y0: floor,
                y1: floor,
                line: { color: bad, width: 1.5, dash: "dash" },
              },
            ]
          : [],
        annotations: full
          ? [
              {
                xref: "paper",
                x: 0,
                xanchor: "left",
                y: floor,
                yanchor: "bottom",
                text: "full",
                showarrow: false,
                font: { size: 12, color: bad },
              },
            ]
          : [],
      }),
    };
  }
}
