// How likely a failure is, within which bounds, why, and on what evidence that rests.

import { at, bar, h, show } from "./dom.js";
import { chance, percent, sentence, several, when } from "./words.js";

export function drawRisk(risk) {
  show(at("risk-body"), risk, () => {
    if (!risk) return h("p", { class: "empty" }, "The risk could not be read.");
    return [
      risk.within_1h
        ? h(
            "div",
            { class: "pair" },
            estimate("within 1 hour", risk.within_1h),
            estimate("within 24 hours", risk.within_24h),
          )
        : h("p", { class: "empty" }, `None is told: ${risk.missing}.`),
      risk.reasons.length
        ? h(
            "ul",
            { class: "bars" },
            risk.reasons.map((one) =>
              h(
                "li",
                {},
                h("span", {}, sentence(one.text || one.factor)),
                h("span", { class: "number" }, one.share === null ? "" : `${Math.round(one.share * 100)} %`),
                one.share === null ? null : bar(one.share),
              ),
            ),
          )
        : null,
      h("h3", {}, "What it rests on"),
      h(
        "p",
        {},
        sentence(risk.basis),
        risk.basis ? ". " : "",
        `${risk.factors} of ${risk.of_factors} factors are seen; ${several(risk.events, "failure")} of this host on record.`,
      ),
      risk.grade
        ? h(
            "p",
            { class: "dim" },
            sentence(risk.grade.text),
            risk.grade.performance === null ? "." : `: performance ${risk.grade.performance.toFixed(2)}.`,
          )
        : null,
      risk.refinement
        ? h("p", { class: "dim" }, "Refined ", when(risk.refinement.at), `: ${risk.refinement.text}.`)
        : null,
      risk.errors.length
        ? [
            h("h3", {}, "Newest errors logged"),
            h(
              "ul",
              { class: "log" },
              risk.errors.map((one) =>
                h(
                  "li",
                  {},
                  when(one.at),
                  " ",
                  h("strong", {}, one.speaker),
                  one.times > 1 ? ` ×${one.times} ` : " ",
                  h("code", {}, one.text),
                ),
              ),
            ),
          ]
        : null,
    ];
  });
}

function estimate(label, one) {
  const share = (value) => `${Math.max(0, Math.min(1, value)) * 100}%`;
  return h(
    "div",
    { class: "estimate" },
    h("strong", { class: "number" }, chance(one.probability)),
    h("span", {}, label),
    h(
      "span",
      { class: "interval", "aria-hidden": "true" },
      h("span", { class: "interval-band", style: { left: share(one.lo80), width: share(one.hi80 - one.lo80) } }),
      h("span", { class: "interval-mark", style: { left: share(one.probability) } }),
    ),
    h("span", { class: "dim" }, `80 %: ${percent(one.lo80)} to ${percent(one.hi80)}`),
  );
}
