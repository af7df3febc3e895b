// What the daemon costs, what it watches with, and where it is kept.

import { at, h, show } from "./dom.js";
import { amount, bytes, count, duration, moment, percent, several, when } from "./words.js";

export function drawCost(cost, status) {
  const troubled = status.collectors.filter((one) => one.problem && !one.absent);
  const short = Object.entries(status.degraded).map(([mode, problem]) => ({ name: `short of ${mode}`, problem }));
  const absent = status.collectors.filter((one) => one.absent);
  // the seconds of every source change with each sample: told rounded, or the panel would never rest
  const sources = status.collectors.map((one) => [one.name, one.problem, Number(one.seconds.toPrecision(1))]);
  show(
    at("cost-body"),
    [cost, short, sources.map(([name, problem]) => [name, problem]), status.version, status.backend, status.config_files],
    () => [
      cost
        ? h(
            "ul",
            { class: "chips" },
            chip(
              "processor",
              cost.cpu_ratio === null ? "not known yet" : `${percent(cost.cpu_ratio)}`,
              "of one, since the start",
            ),
            chip("memory", amount(cost.resident_bytes, "bytes")),
            chip(
              "a tick takes",
              cost.tick_mean_seconds === null ? "not known yet" : duration(cost.tick_mean_seconds),
              `${several(cost.ticks, "tick")} on average`,
            ),
            chip(
              "history",
              bytes(cost.history_bytes),
              cost.first_sample_at ? `since ${moment(cost.first_sample_at)}` : "",
            ),
            chip("alerts and verdicts", bytes(cost.state_bytes)),
            chip("models", bytes(cost.models_bytes)),
          )
        : h("p", { class: "empty" }, "It could not be read."),
      short.length + troubled.length
        ? h(
            "ul",
            { class: "plain" },
            [...short, ...troubled].map((one) => h("li", { class: "problem" }, h("strong", {}, one.name), `: ${one.problem}`)),
          )
        : null,
      h(
        "p",
        { class: "dim" },
        `${several(status.collectors.length - absent.length, "source")} of signals are read`,
        troubled.length ? `, ${troubled.length} of them in trouble` : ", all without trouble",
        ".",
      ),
      absent.length
        ? h(
            "details",
            { "data-key": "absent" },
            h("summary", {}, `${several(absent.length, "source")} this host does not have`),
            h(
              "ul",
              { class: "plain" },
              absent.map((one) => h("li", {}, h("strong", {}, one.name), `: ${one.problem}`)),
            ),
          )
        : null,
      h(
        "p",
        { class: "dim" },
        `presaged ${status.version}, ${status.backend} kernels, started `,
        when(status.started_at),
        `; state in ${status.state_directory}; configured by ${status.config_files.join(", ") || "defaults"}.`,
      ),
    ],
  );
}

const chip = (label, value, more = "") =>
  h(
    "li",
    {},
    h("span", { class: "dim" }, label),
    h("strong", { class: "number" }, value),
    more ? h("span", { class: "dim" }, more) : null,
  );

export function drawFoot(status) {
  const { host } = status;
  const kind =
    host.virtualization === "none" || host.virtualization === host.kind
      ? host.kind
      : `${host.kind} (${host.virtualization})`;
  show(at("foot"), [host, status.samples > 0], () => [
    `${host.name}: ${kind}, ${count(host.cpus)} CPUs, ${bytes(host.memory_bytes)} of memory. Everything on this page comes from this host; nothing is sent anywhere to draw it.`,
  ]);
}
