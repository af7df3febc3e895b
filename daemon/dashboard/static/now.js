// The first thing on the page: one plain sentence, and below it what is wrong, each with its buttons.

import { at, h, icon, show } from "./dom.js";
import { chance, count, DAY_MS, percent, sentence, several, when } from "./words.js";
import { alertCard } from "./alert.js";

const STALE_INTERVALS = 3;

// Draw from the status, the details of the alerts that are not over, and the month.
export function drawNow(told, showSignal) {
  const { status, active, month } = told;
  const said = headline(status, active);
  const place = at("now");
  place.dataset.mood = said.mood;
  place.setAttribute("aria-busy", "false");
  show(at("now-title"), [said.mood, said.title], () => [icon(said.mood), h("span", {}, said.title)]);
  show(at("now-lead"), [said.lead, status.seq, month && month.sent], () => lead(status, month, said));
  show(at("now-alerts"), active, () => active.map((one) => alertCard(one, showSignal)));
  show(at("now-glance"), glances(status, month), (all) => all.map(glance));
  document.title = `${said.short} · ${status.host.name} · presaged`;
}

// The four figures that somebody with no time looks at, each a way to where it is explained.
function glances(status, month) {
  const { anomaly, capacity, risk } = status;
  const score = anomaly && anomaly.score !== null ? anomaly.score.toFixed(2) : "learning";
  const limit = anomaly ? `alarms above ${anomaly.score_threshold.toFixed(2)}` : "";
  const first = capacity[0];
  const within = risk && risk.within_24h !== null ? chance(risk.within_24h) : "not told yet";
  return [
    ["#score", "score", score, limit],
    ["#resources", "first to run out", first ? first.resource : "not known yet", first ? first.text : ""],
    ["#risk", "failure within 24 h", within, risk && risk.within_24h === null ? risk.missing : ""],
    ["#month", "sent in 30 days", month ? count(month.sent) : "…", month ? judged(month) : ""],
  ];
}

const judged = ({ real, false: wrong, expected }) =>
  real + wrong + expected ? `${real} of ${real + wrong + expected} judged were real` : "none judged yet";

const glance = ([where, label, value, more]) =>
  h(
    "li",
    {},
    h(
      "a",
      { href: where, "data-key": where },
      h("span", { class: "dim" }, label),
      h("strong", { class: "number" }, value),
      h("span", { class: "dim" }, more),
    ),
  );

function headline(status, active) {
  const firing = active.filter((one) => one.state === "firing");
  const open = firing.filter((one) => !one.acknowledged_by && !one.silences.length);
  const graver = (severity) => open.filter((one) => one.severity === severity);
  const [pages, tickets, records] = ["critical", "warning", "info"].map(graver);
  const of = (mood, title, extra = "") => ({ mood, title, lead: extra, short: title });
  if (!status.last_sample_at) return of("learning", "The first sample is being taken");
  const age = (Date.now() - new Date(status.last_sample_at).getTime()) / 1000;
  if (age > STALE_INTERVALS * status.interval_seconds + 10)
    return of(
      "critical",
      "No sample is taken any more",
      "presaged answers, but it does not watch: see `journalctl -u presaged`.",
    );
  if (pages.length)
    return of(
      "critical",
      pages.length === 1 ? "Something needs you now" : `${several(pages.length, "thing")} need you now`,
    );
  if (tickets.length)
    return of(
      "warning",
      tickets.length === 1
        ? "One thing needs attention within days"
        : `${several(tickets.length, "thing")} need attention within days`,
    );
  if (firing.length > open.length && !records.length)
    return of("info", "Known, and in hand", "What fires is acknowledged or silenced.");
  if (records.length)
    return of("info", "Unusual, but nothing that hurts", "It is recorded and shown; nobody is woken for it.");
  if (active.length) return of("info", "Something stirs", "It must hold for a while before it counts.");
  if (status.anomaly && status.anomaly.score === null) return of("learning", "Learning what is normal here");
  return of("calm", "All quiet");
}

function lead(status, month, said) {
  const parts = [];
  if (said.lead) parts.push(said.lead, " ");
  const learning = status.anomaly ? status.anomaly.learning : "";
  if (said.mood === "learning" && learning) parts.push(h("span", {}, sentence(learning), ". "), progress(learning));
  parts.push(
    `${several(status.signals, "signal")} watched`,
    status.interval_seconds === 1 ? " every second" : ` every ${count(status.interval_seconds)} s`,
  );
  if (status.last_sample_at) parts.push("; last sample ", when(status.last_sample_at));
  if (month)
    parts.push(
      month.sent ? `; ${several(month.sent, "alert")} sent since ` : "; nothing was sent since ",
      when(month.since, Date.now() - new Date(month.since).getTime() < 2 * DAY_MS ? "moment" : "day"),
    );
  parts.push(".");
  if (said.mood !== "learning" && learning) parts.push(h("span", { class: "dim" }, ` Still ${learning}.`));
  return parts;
}

// "learning: 3 of 60 samples; …" as a bar, where the words hold such a count.
function progress(words) {
  const found = /(\d[\d,]*) of (\d[\d,]*)/.exec(words);
  if (!found) return null;
  const [done, all] = found.slice(1).map((one) => Number(one.replaceAll(",", "")));
  return h("progress", { max: all, value: done, "aria-label": `Learned ${percent(done / all)}` });
}
