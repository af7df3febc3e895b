// One alert, told in the order somebody asks at night: what, why, who, what changed before, what to do.

import { at, h, icon } from "./dom.js";
import { amount, duration, moment, ODD, percent, sentence, several, SEVERITIES, when } from "./words.js";
import { acknowledge, copyButton, judge, silence, takeBack } from "./dialogs.js";

const SHORT = 6;

export function severityTag(severity) {
  return h("span", { class: `tag tag-${severity}` }, icon(severity), SEVERITIES[severity] || severity);
}

// `showSignal` draws the history of a signal; `compact` leaves out the head, where a table has said it already.
export function alertCard(alert, showSignal, compact = false) {
  const name = alert.resource ? `${alert.alertname} · ${alert.resource}` : alert.alertname;
  return h(
    "article",
    { class: `alert alert-${alert.severity}`, "aria-label": name, "data-state": alert.state },
    compact
      ? null
      : h("header", { class: "alert-head" }, severityTag(alert.severity), h("strong", {}, name), standing(alert)),
    h("p", { class: "alert-sentence" }, spoken(alert)),
    h(
      "dl",
      { class: "facts" },
      [...facts(alert, showSignal)].map(([term, ...said]) => [h("dt", {}, term), h("dd", {}, ...said)]),
    ),
    buttons(alert),
  );
}

function standing(alert) {
  const began = alert.fired_at || alert.started_at;
  const words = { pending: "holding since ", firing: "since ", resolved: "over, began " }[alert.state];
  return h("span", { class: "dim" }, words, began ? [moment(began), " (", when(began), ")"] : "");
}

function* facts(alert, showSignal) {
  if (alert.contributors.length) yield ["Why", signals(alert.contributors, showSignal)];
  else if (alert.meaning) yield ["Why", sentence(alert.meaning)];
  const who = [...alert.culprits.map(culprit), ...alert.victims.map(victim)];
  if (who.length)
    yield [
      "Who",
      h(
        "ul",
        { class: "plain" },
        who.map((one) => h("li", {}, one)),
      ),
    ];
  const before = [];
  if (alert.change)
    before.push(
      h(
        "li",
        {},
        moment(alert.change.at),
        ": ",
        alert.change.text,
        h("span", { class: "dim" }, ` (${alert.change.kind})`),
      ),
    );
  if (alert.precedent)
    before.push(
      h(
        "li",
        {},
        "Most like it: ",
        moment(alert.precedent.started_at),
        alert.precedent.lasted_seconds === null ? "" : `, for ${duration(alert.precedent.lasted_seconds)}`,
        alert.precedent.likeness === null ? "" : `, ${percent(alert.precedent.likeness)} alike`,
      ),
    );
  if (before.length) yield ["Before it", h("ul", { class: "plain" }, before)];
  else if (alert.state === "firing")
    yield ["Before it", h("span", { class: "dim" }, "no change was seen shortly before")];
  if (alert.state !== "resolved") yield ["Do", steps(alert)];
  yield ["Told", told(alert)];
  for (const one of alert.silences)
    yield ["Silenced", `by ${one.author} until ${moment(one.ends_at)}${one.comment ? `: ${one.comment}` : ""}`];
  const verdict = standingVerdict(alert);
  if (verdict)
    yield [
      "Verdict",
      h("strong", {}, verdict.verdict),
      ` by ${verdict.author}, ${moment(verdict.at)}`,
      verdict.comment ? `: ${verdict.comment}` : "",
      verdict.effect ? h("div", { class: "dim" }, sentence(verdict.effect)) : "",
    ];
}

// The sentence as it is sent names the host, which is the one that this page is about.
export function spoken(alert) {
  const host = `${at("host").textContent}: `;
  return sentence(alert.sentence.startsWith(host) ? alert.sentence.slice(host.length) : alert.sentence);
}

export function standingVerdict(alert) {
  return alert.verdicts.filter((one) => !one.undone_at).at(-1);
}

function signals(parts, showSignal) {
  return h(
    "ul",
    { class: "signals" },
    parts.map((part) =>
      h(
        "li",
        {},
        h(
          "button",
          { type: "button", class: "link", onclick: () => showSignal(part.signal), title: "Show its history" },
          part.signal,
        ),
        h("strong", { class: "number" }, amount(part.value, part.unit)),
        h("span", { class: "dim" }, `usually ${usual(part)}`),
        h("span", {}, ODD[part.direction] || part.direction || ""),
      ),
    ),
  );
}

function usual(part) {
  if (part.expected_low === null || part.expected_high === null) return "not known";
  const [low, high] = [amount(part.expected_low, part.unit), amount(part.expected_high, part.unit)];
  return low === high ? low : `${low} to ${high}`;
}

function culprit(who) {
  const name = [who.unit, who.process].filter(Boolean).join(", ");
  const share = who.share === null ? "" : ` takes ${percent(who.share)} of ${who.resource}`;
  return [
    h("strong", {}, name),
    share,
    who.usual_share === null ? "" : h("span", { class: "dim" }, `, usually ${percent(who.usual_share)}`),
  ];
}

function victim(who) {
  const share = who.share_of_time === null ? "" : ` ${percent(who.share_of_time)} of the time`;
  return [
    h("strong", {}, who.unit),
    ` waits for ${who.waits_for}${share}`,
    who.usual_share_of_time === null
      ? ""
      : h("span", { class: "dim" }, `, usually ${percent(who.usual_share_of_time)}`),
  ];
}

function steps(alert) {
  const short = alert.occurrence.slice(-SHORT);
  const lines = [`presage explain ${short}`];
  if (alert.network === "capacity") lines.push(`presage forecast ${quoted(alert.resource)}`);
  return h(
    "div",
    {},
    h(
      "p",
      {},
      alert.meaning && alert.contributors.length ? `${alert.meaning} ` : "",
      "What to check and do stands in ",
      h("code", {}, `docs/runbooks/${alert.alertname}.md`),
    ),
    h(
      "ul",
      { class: "commands" },
      lines.map((line) => h("li", {}, h("code", {}, line), copyButton(line))),
    ),
  );
}

const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\"'\"'")}'`);

function told(alert) {
  const who = alert.sent_to.length ? `told to ${alert.sent_to.join(", ")}` : "nobody was told";
  const why = alert.held ? ` (${alert.held})` : "";
  const hand = alert.acknowledged_by ? `; in the hands of ${alert.acknowledged_by}` : "";
  const often = alert.firings > 1 ? `; fired ${several(alert.firings, "time")} within the hour` : "";
  return `${who}${alert.state === "pending" ? ": it must hold for a while first" : why}${hand}${often}`;
}

function buttons(alert) {
  if (alert.state === "pending") return null;
  const verdict = standingVerdict(alert)?.verdict;
  const key = (name) => ({ "data-key": `${alert.occurrence}-${name}` });
  const word = (kind, title) =>
    h(
      "button",
      {
        type: "button",
        title,
        "aria-pressed": String(verdict === kind),
        ...key(kind),
        onclick: () => judge(alert, kind),
      },
      kind,
    );
  return h(
    "div",
    { class: "actions" },
    h(
      "span",
      { class: "verdicts", role: "group", "aria-label": "Your verdict" },
      h("span", { class: "dim" }, "It was"),
      word("real", "It was right: what was sampled meanwhile is never learned from"),
      word("false", "Nothing was the matter: anomalies must be a little stronger from now on"),
      word("expected", "Somebody's own work, like a backup: one like it raises no alarm for a while"),
      verdict
        ? h("button", { type: "button", class: "link", ...key("undo"), onclick: () => takeBack(alert) }, "take back")
        : null,
    ),
    alert.state === "firing" && !alert.acknowledged_by
      ? h(
          "button",
          { type: "button", class: "main", ...key("ack"), onclick: () => acknowledge(alert) },
          "I take it in hand",
        )
      : null,
    alert.state === "firing"
      ? h("button", { type: "button", ...key("silence"), onclick: () => silence(alert) }, "Silence …")
      : null,
  );
}
