// The models with their lineage, and whether what is normal has moved away from what they learned.

import { at, h, show } from "./dom.js";
import { count, day, duration, percent, sentence, several, when } from "./words.js";

const STATES = {
  champion: "serves",
  shadow: "in shadow: runs beside the one that serves",
  predecessor: "served before, still compared",
  challenger: "challenger",
};

export function drawModels(told, status) {
  show(
    at("learning-body"),
    [told, status.job, status.anomaly && [status.anomaly.model, status.anomaly.trained_at]],
    () => {
      if (!told) return h("p", { class: "empty" }, "The models could not be read.");
      const serving = status.anomaly && status.anomaly.model;
      return [
        status.job
          ? h(
              "p",
              {},
              h("strong", {}, `Working: ${status.job.name}. `),
              status.job.text,
              " ",
              h("progress", { max: 1, value: status.job.share, "aria-label": status.job.name }),
            )
          : null,
        h(
          "ul",
          { class: "chips" },
          chip(
            "performance",
            told.performance === null ? "not known yet" : told.performance.toFixed(2),
            told.degraded ? "it has become worse" : "",
          ),
          chip(
            "retention",
            told.retention === null ? "not known yet" : percent(told.retention),
            "of what earlier models knew",
          ),
          chip("answers in", told.latency_seconds === null ? "not known yet" : duration(told.latency_seconds)),
          chip("health", told.health.join(", ")),
        ),
        told.models.length
          ? h("ol", { class: "lineage" }, told.models.map(model))
          : h(
              "p",
              { class: "empty" },
              "No model of its own yet: the first is trained after a day of samples. Until then ",
              serving ? h("code", {}, serving) : "the average of the same features",
              " serves.",
            ),
        told.models.length
          ? h(
              "p",
              { class: "dim" },
              "To go back: ",
              h("code", {}, "presage models rollback"),
              "; side by side: ",
              h("code", {}, "presage models diff"),
              ".",
            )
          : null,
      ];
    },
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

function model(one) {
  const left = Object.entries(one.exclusions)
    .filter(([, number]) => number)
    .map(([why, number]) => `${count(number)} ${why.replaceAll("_", " ")}`);
  return h(
    "li",
    { class: one.state === "champion" ? "serves" : "" },
    h(
      "p",
      {},
      h("strong", {}, one.id),
      ` (${one.network}) `,
      h("span", { class: "tag" }, STATES[one.state] || one.state),
      one.pinned ? h("span", { class: "tag" }, "pinned") : null,
    ),
    h(
      "p",
      { class: "dim" },
      one.trained_at
        ? [
            "Trained ",
            when(one.trained_at),
            one.trigger ? ` (${one.trigger.replaceAll("_", " ")})` : "",
            ` on ${several(one.samples, "sample")}`,
            one.data_from ? ` of ${day(one.data_from)} to ${day(one.data_to)}` : "",
            one.parent ? `; from ${one.parent}` : "; the first of its line",
            ".",
          ]
        : "Nothing is known of its training.",
    ),
    left.length ? h("p", { class: "dim" }, `Left out: ${left.join(", ")}.`) : null,
    one.reason ? h("p", {}, sentence(one.reason)) : null,
    one.problem ? h("p", { class: "problem" }, sentence(one.problem)) : null,
  );
}

export function drawDrift(drift) {
  show(at("drift-body"), drift, () => {
    if (!drift) return h("p", { class: "empty" }, "Drift could not be read.");
    if (drift.score === null) return h("p", { class: "empty" }, `Not known: ${drift.missing}.`);
    const scale = Math.max(2 * drift.critical, drift.score, 0.01);
    const mark = (share, text) =>
      h("span", { class: "gauge-mark", style: { left: `${(share / scale) * 100}%` } }, h("span", {}, text));
    return [
      h(
        "p",
        { class: "figure" },
        h("strong", { class: "number" }, percent(drift.score)),
        h("span", { class: "dim" }, ` of the signals drifted: ${drift.state}`),
      ),
      h(
        "div",
        { class: "gauge", "aria-hidden": "true" },
        h("span", { class: "bar-fill", style: { width: `${(drift.score / scale) * 100}%` } }),
        mark(drift.warning, "warning"),
        mark(drift.critical, "critical"),
      ),
      h(
        "p",
        {},
        `${drift.drifted} of ${drift.judged} judged signals do not follow `,
        drift.reference_from ? `${day(drift.reference_from)} to ${day(drift.reference_until)}` : "the reference",
        drift.earlier ? " (the days of an earlier model: the host runs again as it did then)" : "",
        ".",
      ),
      drift.examples.length
        ? h(
            "ul",
            { class: "bars" },
            drift.examples.map((one) =>
              h("li", {}, h("span", {}, one.signal), h("span", { class: "number" }, one.distance.toFixed(2))),
            ),
          )
        : null,
      drift.networks.length
        ? h(
            "table",
            { class: "grid" },
            h("caption", { class: "hidden" }, "Drift by network"),
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                ["network", "inputs", "answers"].map((one) => h("th", { scope: "col" }, one)),
              ),
            ),
            h(
              "tbody",
              {},
              drift.networks.map((one) =>
                h(
                  "tr",
                  {},
                  h("th", { scope: "row" }, one.network),
                  h("td", { class: "number" }, percent(one.inputs)),
                  h("td", { class: "number" }, percent(one.outputs)),
                ),
              ),
            ),
          )
        : null,
      h("p", { class: "dim" }, "Checked ", when(drift.at), ". A drift is shown, never sent."),
    ];
  });
}
