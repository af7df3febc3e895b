// What the score is made of now: the share of each signal, the largest first.

import { at, bar, h, show } from "./dom.js";
import { several } from "./words.js";

// What share of the score each signal has now.
export function drawUnusual(status, view) {
  const anomaly = status.anomaly;
  show(at("unusual-body"), anomaly, () => {
    if (!anomaly || anomaly.score === null)
      return h("p", { class: "empty" }, "Nothing yet: there is no score before the first minutes are learned.");
    const over = anomaly.score >= anomaly.score_threshold;
    return [
      h(
        "p",
        { class: "figure" },
        h("strong", { class: "number" }, anomaly.score.toFixed(2)),
        h(
          "span",
          { class: "dim" },
          ` of ${anomaly.score_threshold.toFixed(2)}: ${over ? "above the threshold" : "below the threshold"}`,
        ),
      ),
      h(
        "ul",
        { class: "bars" },
        anomaly.contributions.map((one) =>
          h(
            "li",
            {},
            h(
              "button",
              {
                type: "button",
                class: "link",
                "data-key": one.signal,
                onclick: () => view.choose(one.signal),
                title: "Show its history",
              },
              one.signal,
            ),
            h("span", { class: "number" }, `${Math.round(one.share * 100)} %`),
            bar(one.share),
          ),
        ),
      ),
      h(
        "p",
        { class: "dim" },
        `Raw score ${anomaly.raw_score?.toFixed(2) ?? "none"}, raw threshold ${anomaly.raw_threshold?.toFixed(2) ?? "none"}. ${several(anomaly.episodes, "episode")} recorded.`,
      ),
    ];
  });
}
