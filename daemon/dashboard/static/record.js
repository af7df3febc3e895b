// What is on record: alerts with verdicts, the month in figures, changes and failures, silences and verdicts in force.

import { at, h, show } from "./dom.js";
import { ask } from "./api.js";
import { alertCard, severityTag, spoken } from "./alert.js";
import { endSilence, takeBack } from "./dialogs.js";
import { count, duration, moment, percent, sentence, several, when } from "./words.js";

const NEWEST = 12;
const open = new Map(); // alerts whose details are shown, by id

export function drawAlerts(alerts, month, showSignal, limit, more) {
  const verdicts = month ? month.verdicts : {};
  show(at("alerts-body"), [alerts, verdicts, limit, [...open]], () => {
    if (!alerts) return h("p", { class: "empty" }, "The alerts could not be read.");
    if (!alerts.length)
      return h("p", { class: "empty" }, "No alert yet. When one comes, it is kept here with what was said of it.");
    return [
      h(
        "ul",
        { class: "record" },
        alerts
          .slice(0, limit)
          .map((one) =>
            row(one, verdicts[one.occurrence], showSignal, () => drawAlerts(alerts, month, showSignal, limit, more)),
          ),
      ),
      alerts.length > limit
        ? h(
            "button",
            { type: "button", class: "link", "data-key": "more-alerts", onclick: () => more(limit + 40) },
            "Older ones",
          )
        : null,
    ];
  });
}

export const firstAlerts = NEWEST;

function row(one, verdict, showSignal, again) {
  const detail = open.get(one.occurrence);
  const end = one.resolved_at ? new Date(one.resolved_at).getTime() : Date.now();
  const lasted = one.resolved_at
    ? `for ${duration((end - new Date(one.started_at).getTime()) / 1000)}`
    : { firing: "goes on", pending: "must hold for a while" }[one.state] || one.state;
  const toggle = async () => {
    if (open.has(one.occurrence)) open.delete(one.occurrence);
    else open.set(one.occurrence, await ask(`alerts/${encodeURIComponent(one.occurrence)}`).catch(() => null));
    again();
  };
  return h(
    "li",
    {},
    h(
      "button",
      {
        type: "button",
        class: "record-row",
        "aria-expanded": String(Boolean(detail)),
        "data-key": one.occurrence,
        onclick: toggle,
      },
      h("span", { class: "record-when" }, when(one.started_at, "moment"), h("span", { class: "dim" }, lasted)),
      h(
        "span",
        { class: "record-what" },
        h(
          "span",
          { class: "record-name" },
          severityTag(one.severity),
          h("strong", {}, one.resource ? `${one.alertname} · ${one.resource}` : one.alertname),
        ),
        h("span", { class: "dim" }, spoken(one)),
      ),
      h(
        "span",
        { class: "record-said" },
        verdict
          ? h("span", { class: `tag verdict-${verdict}` }, verdict)
          : h("span", { class: "dim" }, one.state === "pending" ? "" : "not judged"),
        h("span", { class: "dim" }, one.sent_to.length ? "sent" : "kept"),
      ),
    ),
    detail ? alertCard(detail, showSignal, true) : null,
  );
}

// Read the details that are open anew, after something was ordered.
export async function refreshOpen() {
  for (const id of open.keys()) open.set(id, await ask(`alerts/${encodeURIComponent(id)}`).catch(() => null));
}

export function drawMonth(month, status) {
  show(at("month-body"), [month, status.sinks.length], () => {
    if (!month) return h("p", { class: "empty" }, "It could not be read.");
    const judged = month.real + month.false + month.expected;
    return [
      h(
        "div",
        { class: "pair" },
        h(
          "div",
          { class: "estimate" },
          h("strong", { class: "number" }, count(month.sent)),
          h("span", {}, month.sent === 1 ? "alert sent" : "alerts sent"),
          h("span", { class: "dim" }, `since ${moment(month.since)}`),
        ),
        h(
          "div",
          { class: "estimate" },
          h("strong", { class: "number" }, month.share_real === null ? "–" : percent(month.share_real)),
          h("span", {}, "were real"),
          h("span", { class: "dim" }, judged ? `of ${several(judged, "judged one")}` : "none is judged yet"),
        ),
      ),
      h(
        "p",
        {},
        `${several(month.fired, "alert")} fired; ${count(month.kept)} of them ${month.kept === 1 ? "is a record" : "are records"} that nobody was woken for.`,
        judged ? ` Of those sent: ${month.real} real, ${month.false} false, ${month.expected} expected.` : "",
      ),
      month.sinks.length
        ? h(
            "table",
            { class: "grid" },
            h("caption", { class: "hidden" }, "Notifications by sink"),
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                ["sink", "taken", "waiting", "given up"].map((one) => h("th", { scope: "col" }, one)),
              ),
            ),
            h(
              "tbody",
              {},
              month.sinks.map((one) =>
                h(
                  "tr",
                  {},
                  h("th", { scope: "row" }, one.name),
                  ...[one.delivered, one.pending, one.failed].map((number) =>
                    h("td", { class: "number" }, count(number)),
                  ),
                ),
              ),
            ),
          )
        : h(
            "p",
            { class: "dim" },
            "No sink is configured: alerts are kept and shown, not sent. ",
            h("code", {}, "[[alerting.sinks]]"),
            " adds one.",
          ),
    ];
  });
}

export function drawChanges(changes, failures) {
  show(at("changes-body"), [changes, failures], () => {
    const rows = [
      ...(changes || []).map((one) => ({ at: one.at, kind: one.kind, text: one.text, bad: false })),
      ...(failures?.failures || []).map((one) => ({
        at: one.at,
        kind: one.kind.replaceAll("_", " "),
        text: [one.resource, one.detail].filter(Boolean).join(": "),
        bad: true,
        times: one.times,
      })),
    ]
      .sort((one, other) => (one.at < other.at ? 1 : -1))
      .slice(0, 9);
    const blind = (failures?.sources || []).filter((one) => one.problem);
    return [
      rows.length
        ? h(
            "ul",
            { class: "log" },
            rows.map((one) =>
              h(
                "li",
                {},
                when(one.at, "moment"),
                " ",
                h("span", { class: one.bad ? "tag tag-critical" : "tag" }, one.bad ? `failed: ${one.kind}` : one.kind),
                " ",
                one.text,
                one.times > 1 ? ` (${one.times} times)` : "",
              ),
            ),
          )
        : h("p", { class: "empty" }, "Nothing was changed and nothing failed while presaged watched."),
      blind.length
        ? h(
            "details",
            { "data-key": "blind" },
            h("summary", {}, `${several(blind.length, "source")} of failures cannot be read here`),
            h(
              "ul",
              { class: "plain" },
              blind.map((one) => h("li", {}, h("strong", {}, one.name), `: ${one.problem}`)),
            ),
          )
        : null,
    ];
  });
}

export function drawQuiet(silences, verdicts) {
  show(at("quiet-body"), [silences, verdicts], () => {
    const rows = [];
    for (const one of silences || [])
      rows.push(
        h(
          "li",
          {},
          h("span", { class: "tag" }, "silence"),
          " ",
          h("strong", {}, one.takes),
          ` until ${moment(one.ends_at)}, by ${one.author}`,
          one.comment ? `: ${one.comment}` : "",
          " ",
          h(
            "button",
            { type: "button", class: "link", "data-key": `end-${one.id}`, onclick: () => endSilence(one) },
            "end it",
          ),
        ),
      );
    for (const one of verdicts?.verdicts || [])
      rows.push(
        h(
          "li",
          {},
          h("span", { class: `tag verdict-${one.verdict}` }, one.verdict),
          " ",
          sentence(one.effect || "nothing else changes"),
          `, by ${one.author}`,
          one.comment ? `: ${one.comment}` : "",
          " ",
          h(
            "button",
            {
              type: "button",
              class: "link",
              "data-key": `undo-${one.occurrence}`,
              onclick: () => takeBack({ occurrence: one.occurrence }),
            },
            "take back",
          ),
        ),
      );
    return [
      rows.length
        ? h("ul", { class: "log" }, rows)
        : h("p", { class: "empty" }, "Nothing is silenced, and no verdict changes anything now."),
      verdicts?.threshold ? h("p", { class: "dim" }, sentence(verdicts.threshold)) : null,
    ];
  });
}
