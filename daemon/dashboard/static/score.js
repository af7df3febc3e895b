// The score against its threshold, with incidents shaded, and any other signal below it on the same span of time.
//
// Thirty days are a few hundred points: the daemon sums them up, and zooming in asks it again, finer.

import { at, h, say } from "./dom.js";
import { ask } from "./api.js";
import { band, draw, fromLocal, layout, local, palette, plain } from "./charts.js";
import { amount, duration, moment, several } from "./words.js";

const RANGES = [
  ["1 h", 3600],
  ["6 h", 21_600],
  ["24 h", 86_400],
  ["7 d", 604_800],
  ["30 d", 2_592_000],
];
const POINTS = 480;
const ROWS = 12;
const THINNEST = 250; // of the span: what is shorter would not be seen

export class ScoreView {
  constructor() {
    this.span = 86_400;
    this.window = null; // from and to, where somebody has zoomed; null follows the present
    this.signal = "";
    this.alerts = [];
    this.learning = "";
    this.names = [];
    this.asked = 0;
    this.lastMs = 0;
    this.failed = "";
  }

  // Build the frame once; `since` is the first sample's time: a young host is shown from there.
  begin(since) {
    const age = since ? (Date.now() - new Date(since).getTime()) / 1000 : 0;
    this.span = age < 3600 ? Math.max(600, age) : age < 7200 ? 3600 : age < 28_800 ? 21_600 : 86_400;
    at("score-ranges").replaceChildren(
      ...RANGES.map(([text, seconds]) =>
        h(
          "button",
          { type: "button", "data-span": seconds, "aria-pressed": "false", onclick: () => this.follow(seconds) },
          text,
        ),
      ),
      h("button", { type: "button", id: "earlier", "aria-label": "Earlier", onclick: () => this.move(-0.5) }, "‹"),
      h("button", { type: "button", id: "later", "aria-label": "Later", onclick: () => this.move(0.5) }, "›"),
      h("button", { type: "button", id: "closer", "aria-label": "Zoom in", onclick: () => this.zoom(0.25) }, "+"),
      h("button", { type: "button", id: "wider", "aria-label": "Zoom out", onclick: () => this.zoom(1) }, "−"),
    );
    this.plot = h("div", { class: "plot", role: "img", "aria-label": "Score" });
    this.caption = h("figcaption", { class: "dim" });
    this.table = h("details", { class: "as-table", "data-key": "score-table" }, h("summary", {}, "As a table"));
    this.other = h("div", { class: "plot low", role: "img", hidden: true });
    this.otherCaption = h("p", { class: "dim", hidden: true });
    this.choice = h("input", {
      list: "signal-names",
      id: "signal",
      placeholder: "any signal, e.g. cpu.busy",
      autocomplete: "off",
      onchange: (event) => this.choose(event.target.value.trim()),
    });
    at("score-body").replaceChildren(
      h("figure", {}, this.caption, this.plot, this.table),
      h(
        "div",
        { class: "beside" },
        h("label", { for: "signal" }, "Compare with"),
        this.choice,
        h("datalist", { id: "signal-names" }),
      ),
      this.otherCaption,
      this.other,
    );
    this.choice.addEventListener("focus", () => this.learnNames(), { once: true });
  }

  async learnNames() {
    const names = [];
    let next = "";
    do {
      const page = await ask(`signals?limit=1000${next ? `&cursor=${encodeURIComponent(next)}` : ""}`);
      names.push(...page.signals.map((one) => one.name));
      next = page.next;
    } while (next);
    at("signal-names").replaceChildren(...names.sort().map((value) => h("option", { value })));
  }

  follow(seconds) {
    this.span = seconds;
    this.window = null;
    return this.refresh();
  }

  edges() {
    const now = Date.now();
    return this.window || [now - this.span * 1000, now];
  }

  look(from, to) {
    const now = Date.now();
    const size = Math.max(60_000, Math.min(to - from, 90 * 86_400_000));
    const end = Math.min(from + size, now);
    this.window = [end - size, end];
    return this.refresh();
  }

  move(share) {
    const [from, to] = this.edges();
    return this.look(from + share * (to - from), to + share * (to - from));
  }

  zoom(share) {
    const [from, to] = this.edges();
    const edge = share < 1 ? share * (to - from) : -0.5 * (to - from);
    return this.look(from + edge, to - edge);
  }

  choose(signal) {
    this.signal = signal;
    this.choice.value = signal;
    return this.refresh().then(() => signal && this.other.scrollIntoView({ block: "nearest" }));
  }

  // At a new sample: ask again as often as the picture can show it, when it follows the present.
  tick() {
    if (!this.plot || this.window || document.hidden) return;
    const step = Math.max(2000, (this.span * 1000) / POINTS);
    if (Date.now() - this.lastMs >= step) this.refresh();
  }

  async refresh() {
    if (!this.plot) return; // the frame is not built yet
    const turn = ++this.asked;
    this.lastMs = Date.now();
    const [from, to] = this.edges().map(Math.round);
    for (const button of at("score-ranges").querySelectorAll("[data-span]"))
      button.setAttribute("aria-pressed", String(!this.window && Number(button.dataset.span) === this.span));
    at("later").disabled = !this.window;
    const query = `series?from=${from}&to=${to}&points=${POINTS}&signal=`;
    try {
      const [score, other] = await Promise.all([
        ask(`${query}anomaly.score`),
        this.signal
          ? ask(query + encodeURIComponent(this.signal)).catch((error) => ({ problem: error.message }))
          : null,
      ]);
      if (turn !== this.asked) return; // somebody has zoomed on meanwhile
      await Promise.all([this.drawScore(score, from, to), this.drawOther(other, from, to)]);
    } catch (error) {
      if (turn === this.asked) this.caption.textContent = error.message;
    }
  }

  async drawScore(answer, from, to) {
    const series = answer.series[0];
    this.tell(answer, series, from, to);
    const threshold = series.threshold;
    const scored = answer.times_ms.filter((_, place) => series.mean[place] !== null);
    this.plot.hidden = scored.length === 0;
    if (!scored.length) return;
    await this.picture(this.plot, () => {
      const { accent, bad, band: fill, shade, shadeDeep } = palette();
      const x = answer.times_ms.map(local);
      const incidents = this.alerts
        .filter((one) => one.state !== "pending" && this.within(one, from, to))
        .map((one) => ({
          type: "rect",
          layer: "below",
          xref: "x",
          yref: "paper",
          y0: 0,
          y1: 1,
          line: { width: 0 },
          x0: local(Math.max(from, new Date(one.started_at).getTime())),
          x1: local(
            Math.max(
              one.resolved_at ? new Date(one.resolved_at).getTime() : to,
              new Date(one.started_at).getTime() + (to - from) / THINNEST,
            ),
          ),
          fillcolor: one.severity === "info" ? shade : shadeDeep,
        }));
      const limit = {
        type: "line",
        xref: "paper",
        x0: 0,
        x1: 1,
        y0: threshold,
        y1: threshold,
        line: { color: bad, width: 1.5, dash: "dash" },
      };
      const words = {
        xref: "paper",
        x: 0,
        xanchor: "left",
        y: threshold,
        yanchor: "bottom",
        text: "threshold",
        showarrow: false,
        font: { size: 12, color: bad },
      };
      return {
        traces: [
          ...band(x, series.min, series.max, fill),
          {
            x,
            y: series.mean,
            mode: "lines",
            line: { color: accent, width: 1.8 },
            name: "score",
            hovertemplate: "%{y:.2f}",
          },
        ],
        layout: layout({
          height: 260,
          xaxis: { range: [local(from), local(to)] },
          yaxis: { range: [0, 1.02], tickvals: [0, 0.25, 0.5, 0.75, 1] },
          shapes: [...incidents, limit],
          annotations: [words],
        }),
      };
    });
  }

  within(one, from, to) {
    return new Date(one.started_at).getTime() < to && (!one.resolved_at || new Date(one.resolved_at).getTime() > from);
  }

  tell(answer, series, from, to) {
    const known = series.max.filter((one) => one !== null);
    const incidents = this.alerts.filter((one) => one.state !== "pending" && this.within(one, from, to)).length;
    const step = answer.step_seconds ? `; each point is ${duration(answer.step_seconds)}` : "";
    const text = known.length
      ? `${moment(from)} to ${moment(to)}: highest ${Math.max(...known).toFixed(2)}, threshold ${series.threshold.toFixed(2)}; ${several(incidents, "incident")} shaded${step}.`
      : this.learning && !this.window
        ? `No score yet; ${this.learning}. Signals can be looked at already.`
        : "No score in this time: it was being learned, or nothing was sampled.";
    this.caption.textContent = text;
    this.plot.setAttribute("aria-label", `Score. ${text}`);
    this.table.hidden = known.length === 0;
    const stride = Math.max(1, Math.ceil(answer.times_ms.length / ROWS));
    const rows = [];
    for (let place = 0; place < answer.times_ms.length; place += stride) {
      const part = (list) => list.slice(place, place + stride).filter((one) => one !== null);
      const mean = part(series.mean);
      if (mean.length)
        rows.push([
          answer.times_ms[place],
          mean.reduce((sum, one) => sum + one, 0) / mean.length,
          Math.max(...part(series.max)),
        ]);
    }
    const summary = this.table.querySelector("summary");
    this.table.replaceChildren(
      summary,
      h(
        "table",
        { class: "grid" },
        h("caption", { class: "hidden" }, "Score over time"),
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ["from", "mean", "highest"].map((one) => h("th", { scope: "col" }, one)),
          ),
        ),
        h(
          "tbody",
          {},
          rows.map(([time, mean, high]) =>
            h(
              "tr",
              {},
              h("td", {}, moment(time)),
              h("td", { class: "number" }, mean.toFixed(2)),
              h("td", { class: "number" }, high.toFixed(2)),
            ),
          ),
        ),
      ),
    );
  }

  async drawOther(answer, from, to) {
    this.other.hidden = this.otherCaption.hidden = !answer;
    if (!answer) return;
    const series = answer.series?.[0];
    const known = series ? series.max.filter((one) => one !== null) : [];
    this.otherCaption.textContent =
      answer.problem ||
      (known.length
        ? `${series.signal}: ${amount(Math.min(...series.min.filter((one) => one !== null)), series.unit)} to ${amount(Math.max(...known), series.unit)}.`
        : `${this.signal}: nothing is stored in this time.`);
    this.other.hidden = !known.length;
    if (!known.length) return;
    this.other.setAttribute("aria-label", this.otherCaption.textContent);
    await this.picture(this.other, () => {
      const { ink, band2 } = palette();
      const x = answer.times_ms.map(local);
      const labels = series.mean.map((one) => (one === null ? "" : amount(one, series.unit)));
      const top = Math.max(...known);
      const low = Math.min(0, ...series.min.filter((one) => one !== null));
      const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => low + share * (top - low));
      return {
        traces: [
          ...band(x, series.min, series.max, band2),
          {
            x,
            y: series.mean,
            text: labels,
            mode: "lines",
            line: { color: ink, width: 1.5 },
            name: plain(series.signal),
            hovertemplate: "%{text}",
          },
        ],
        layout: layout({
          height: 180,
          xaxis: { range: [local(from), local(to)] },
          yaxis: { tickvals: ticks, ticktext: ticks.map((one) => amount(one, series.unit)) },
        }),
      };
    });
  }

  async picture(place, make) {
    try {
      await draw(place, make);
    } catch (error) {
      if (!this.failed) say(error.message);
      this.failed = error.message;
      return;
    }
    if (place.dataset.wired) return;
    place.dataset.wired = "yes";
    place.on("plotly_relayout", (event) => {
      if (event["xaxis.range[0]"] !== undefined)
        this.look(fromLocal(event["xaxis.range[0]"]), fromLocal(event["xaxis.range[1]"]));
    });
    place.on("plotly_doubleclick", () => this.follow(this.span));
  }
}
