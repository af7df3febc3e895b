// Starts the page: words first, then charts, then what comes in live.
//
// Each answer fills its own panels. A sample renews what changes with a sample; the rest is asked again when an alert
// comes or goes, when somebody has ordered something, and once a minute.

import { ask, askOr, isSignedIn, signOut, whoAmI } from "./api.js";
import { spoken } from "./alert.js";
import { redrawAll } from "./charts.js";
import { askToSignIn, tellStateDirectory, wireButtons } from "./dialogs.js";
import { at, h, say } from "./dom.js";
import { drawCost, drawFoot } from "./host.js";
import { drawDrift, drawModels } from "./learning.js";
import { Live } from "./live.js";
import { drawNow } from "./now.js";
import { drawAlerts, drawChanges, drawMonth, drawQuiet, firstAlerts, refreshOpen } from "./record.js";
import { ResourceView } from "./resources.js";
import { drawRisk } from "./risk.js";
import { ScoreView } from "./score.js";
import { drawUnusual } from "./unusual.js";
import { keepTime, moment, sentence } from "./words.js";

const SLOW_MS = 60_000;
const FASTEST_MS = 2000;
const MOST_DETAILS = 12;

const told = { status: null, active: [], month: null, alerts: null };
const score = new ScoreView();
const resources = new ResourceView();
const showSignal = (signal) => score.choose(signal);
let listed = firstAlerts;
let lastFast = 0;
let lastSlow = 0;
let waiting = null;

async function fast() {
  lastFast = Date.now();
  const status = await ask("status");
  told.status = status;
  tellStateDirectory(status.state_directory);
  at("host").textContent = status.host.name;
  told.active = await details(status.alerts);
  drawNow(told, showSignal);
  score.learning = status.anomaly ? status.anomaly.learning : "";
  drawUnusual(status, score);
  drawFoot(status);
}

// What is known of the alerts that are not over; beyond a dozen nobody reads on.
async function details(alerts) {
  const rank = { critical: 0, warning: 1, info: 2 };
  const sorted = [...alerts]
    .filter((one) => one.state !== "resolved")
    .sort((one, other) => rank[one.severity] - rank[other.severity]);
  const found = await Promise.all(
    sorted.slice(0, MOST_DETAILS).map((one) => askOr(`alerts/${encodeURIComponent(one.occurrence)}`)),
  );
  return found.filter(Boolean);
}

async function slow() {
  lastSlow = Date.now();
  const [month, alerts, forecasts, risk, drift, models, changes, failures, silences, verdicts, cost] =
    await Promise.all(
      [
        "month",
        `alerts?limit=${listed + 1}`,
        "forecasts",
        "risk",
        "drift",
        "neural/models",
        "changes?limit=9",
        "failures?limit=9",
        "silences",
        "verdicts",
        "self",
      ].map((path) => askOr(path)),
    );
  Object.assign(told, { month, alerts: alerts && alerts.alerts });
  score.alerts = told.alerts || [];
  drawNow(told, showSignal);
  drawRecord();
  drawMonth(month, told.status);
  drawRisk(risk);
  drawDrift(drift);
  drawModels(models, told.status);
  drawChanges(changes && changes.changes, failures);
  drawQuiet(silences && silences.silences, verdicts);
  drawCost(cost, told.status);
  if (!score.plot) score.begin(cost && cost.first_sample_at);
  return forecasts;
}

function drawRecord() {
  drawAlerts(told.alerts, told.month, showSignal, listed, async (limit) => {
    listed = limit;
    told.alerts = (await ask(`alerts?limit=${limit + 1}`)).alerts;
    drawRecord();
  });
}

// Renew what is due; two at once become one.
async function renew(everything = false) {
  if (waiting) {
    await waiting.catch(() => {});
    if (!everything) return;
  }
  waiting = (async () => {
    await fast();
    if (everything || Date.now() - lastSlow > SLOW_MS) await resources.take(await slow());
  })();
  try {
    await waiting;
  } catch {
    // the stream of events says that nobody answers, and when somebody does again
  } finally {
    waiting = null;
  }
}

const heard = {
  tick(data) {
    if (document.hidden) return;
    if (Date.now() - lastFast >= FASTEST_MS) renew();
    score.tick();
  },
  async alert({ transition, alert }) {
    const name = alert.resource ? `${alert.alertname} on ${alert.resource}` : alert.alertname;
    if (transition === "firing") say(`${name}: ${spoken(alert)}`);
    if (transition === "resolved") say(`${name} is over`);
    await renew(true);
    score.refresh();
  },
  restarted(version) {
    if (told.status && version !== told.status.version) return location.reload(); // another presaged brings another page
    say("The daemon was restarted");
    whoAmI();
    return renew(true).then(() => score.refresh());
  },
  poll() {
    renew();
    score.tick();
  },
  state(state, lastMs) {
    const live = at("live");
    live.dataset.state = state;
    live.textContent = { live: "live", asking: "every 5 s" }[state] || "reconnecting";
    const gone = at("gone");
    gone.hidden = state !== "gone";
    at("main").classList.toggle("old", state === "gone");
    if (state === "gone")
      gone.replaceChildren(
        h("strong", {}, "The daemon does not answer"),
        lastMs ? ` since ${moment(lastMs, true)}. What you see is from before.` : ".",
        " It is tried again and again; on the host, ",
        h("code", {}, "systemctl status presaged"),
        " tells more.",
      );
    if (state === "live" && told.status) renew(Date.now() - lastSlow > 5000);
  },
};

function wire() {
  wireButtons();
  const theme = at("theme");
  const root = document.documentElement;
  const name = () => (at("theme-name").textContent = root.dataset.theme || "auto");
  theme.addEventListener("click", () => {
    const next = { auto: "light", light: "dark", dark: "auto" }[root.dataset.theme || "auto"];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("presaged.theme", next);
    } catch {
      // it lasts as long as the page
    }
    name();
    redrawAll();
  });
  name();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
  document.addEventListener("session", () => (at("session").textContent = isSignedIn() ? "Sign out" : "Sign in"));
  at("session").addEventListener("click", () =>
    isSignedIn() ? signOut().catch((error) => say(error.message)) : askToSignIn(),
  );
  document.addEventListener("ordered", async () => {
    await refreshOpen();
    renew(true);
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) renew(Date.now() - lastSlow > SLOW_MS);
  });
  setInterval(keepTime, 1000);
  setInterval(() => document.hidden && renew(), SLOW_MS); // the title of a tab in the background still tells
}

async function start() {
  wire();
  whoAmI().catch(() => {});
  try {
    await fast();
    performance.mark("told");
  } catch (error) {
    at("now-title").textContent = "presaged does not answer";
    at("now-lead").textContent = `${sentence(error.message)}. It is tried again.`;
  }
  new Live(heard);
  try {
    const forecasts = await slow();
    performance.mark("filled");
    await Promise.all([score.refresh(), resources.take(forecasts)]);
    performance.mark("drawn");
  } catch {
    // the stream tells when somebody answers, and everything is asked again then
  }
}

start();
