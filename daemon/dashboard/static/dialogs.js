// What changes something: verdict, acknowledgement, silence, marks, and the sign-in that they need.
//
// The token is asked for once and exchanged for a cookie that no script can read; the page keeps only who you say you are.

import { at, h, say } from "./dom.js";
import { change, isSignedIn, Refused, signIn } from "./api.js";
import { moment, sentence } from "./words.js";

let stateDirectory = "";
export const tellStateDirectory = (directory) => (stateDirectory = directory);

function kept(name) {
  try {
    return localStorage.getItem(`presaged.${name}`) || "";
  } catch {
    return "";
  }
}

function keep(name, value) {
  try {
    localStorage.setItem(`presaged.${name}`, value);
  } catch {
    // it is asked again next time
  }
}

const author = () => kept("author") || "somebody";

let opened = 0;

// Open a dialog and return what its form holds, null when it was left. `act` may refuse with words: it stays open then.
export function dialog(title, content, done, act = async () => {}) {
  return new Promise((settle) => {
    const name = `dialog-${(opened += 1)}`; // the sign-in may lie upon another
    const problem = h("p", { class: "problem", role: "alert" });
    const form = h(
      "form",
      { method: "dialog" },
      h("h2", { id: name }, title),
      ...content,
      problem,
      h(
        "div",
        { class: "actions" },
        h("button", { type: "submit", class: "main" }, done),
        h("button", { type: "button", onclick: () => close(null) }, "Cancel"),
      ),
    );
    const box = h("dialog", { "aria-labelledby": name }, form);
    const before = document.activeElement;
    const close = (answer) => {
      box.close();
      box.remove();
      if (before?.isConnected) before.focus();
      settle(answer);
    };
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const answer = Object.fromEntries(new FormData(form));
      const button = form.querySelector('button[type="submit"]');
      button.disabled = true;
      try {
        await act(answer);
        close(answer);
      } catch (error) {
        problem.textContent = sentence(error.message);
        button.disabled = false;
      }
    });
    box.addEventListener("cancel", (event) => {
      event.preventDefault();
      close(null);
    });
    document.body.append(box);
    box.showModal();
  });
}

const field = (label, name, attributes = {}, hint = "") =>
  h("label", {}, label, h("input", { name, autocomplete: "off", ...attributes }), hint ? h("small", {}, hint) : null);

const choose = (label, name, options) =>
  h(
    "label",
    {},
    label,
    h(
      "select",
      { name },
      options.map(([value, text]) => h("option", { value }, text)),
    ),
  );

export async function askToSignIn(why = "") {
  const command = `sudo cat ${stateDirectory || "/var/lib/presaged"}/token`;
  const answer = await dialog(
    "Sign in to change something",
    [
      h(
        "p",
        {},
        why,
        "Reading is open on this machine; what changes something needs the token. On the host it is told by",
      ),
      h("p", { class: "commands" }, h("code", {}, command), copyButton(command)),
      field(
        "Your name",
        "author",
        { maxlength: 100, value: kept("author"), required: true, autofocus: !kept("author"), autocomplete: "username" },
        "Shown beside what you do.",
      ),
      field("Token", "token", {
        type: "password",
        required: true,
        autofocus: Boolean(kept("author")),
        autocomplete: "current-password",
      }),
    ],
    "Sign in",
    async (given) => {
      await signIn(given.token.trim());
      keep("author", given.author.trim());
    },
  );
  if (answer) say("Signed in");
  return answer !== null;
}

// Do what needs the token; ask for it where it is missing or was forgotten by a restart. Return null when it was left.
async function signedIn(act) {
  if (!isSignedIn() && !(await askToSignIn())) return null;
  try {
    return await act();
  } catch (error) {
    if (!(error instanceof Refused) || isSignedIn() || ![401, 403].includes(error.status)) throw error;
    return (await askToSignIn("The daemon was restarted since. ")) ? act() : null;
  }
}

// Do it, and say what came of it.
async function ordered(act, words) {
  try {
    const answer = await signedIn(act);
    if (answer !== null) done(words(answer));
  } catch (error) {
    say(`That did not work: ${error.message}`);
  }
}

function done(words) {
  say(words);
  document.dispatchEvent(new Event("ordered"));
}

// Ask with a dialog, and do what `act` makes of the answer; a refusal is told in the dialog, which stays open.
async function asked(title, content, button, act, words) {
  let answer = null;
  const given = await dialog(title, content, button, async (filled) => {
    answer = await signedIn(() => act(filled));
    if (answer === null) throw new Error("nothing was done: sign in first");
  });
  if (given) done(words(answer));
}

const path = (alert, what) => `alerts/${encodeURIComponent(alert.occurrence)}/${what}`;
const noted = (kind) => (answer) => [`Noted as ${kind}`, ...answer.changed].map(sentence).join(". ");

export async function judge(alert, kind) {
  if (kind !== "expected")
    return ordered(() => change("POST", path(alert, "feedback"), { verdict: kind, author: author() }), noted(kind));
  return asked(
    `${alert.alertname} was expected`,
    [
      h(
        "p",
        {},
        "An anomaly like this one raises no alarm for a while; a stronger one, or another pattern, still does.",
      ),
      choose("It comes", "every", [
        ["", "at any hour"],
        ["day", "every day at this hour"],
        ["week", "every week at this hour"],
      ]),
      field("Why (optional)", "comment", { maxlength: 500, placeholder: "nightly backup" }),
    ],
    "It was expected",
    (given) =>
      change("POST", path(alert, "feedback"), {
        verdict: "expected",
        author: author(),
        every: given.every,
        comment: given.comment.trim(),
      }),
    noted("expected"),
  );
}

export const takeBack = (alert) =>
  ordered(
    () => change("DELETE", path(alert, "feedback"), { author: author() }),
    (answer) => ["Taken back", ...answer.changed].map(sentence).join(". "),
  );

export const acknowledge = (alert) =>
  ordered(
    () => change("POST", path(alert, "ack"), { author: author() }),
    () => `${alert.alertname} is in your hands: nobody is told of it again`,
  );

const SPANS = [
  ["1800", "30 minutes"],
  ["7200", "2 hours"],
  ["28800", "8 hours"],
  ["86400", "a day"],
  ["604800", "a week"],
];

// Ask for how long to be quiet: about one alert, or, without one, about what is typed.
export function silence(alert) {
  const about = alert
    ? [
        h(
          "p",
          {},
          "Nobody is told of ",
          h("strong", {}, alert.alertname),
          alert.resource ? [" on ", h("strong", {}, alert.resource)] : "",
          " for a while. It is still recorded and shown.",
        ),
      ]
    : [
        h("p", {}, "Nobody is told of what matches. It is still recorded and shown. Leave both empty for everything."),
        field("Alert name", "alertname", { placeholder: "any" }),
        field("Resource", "resource", { placeholder: "any" }),
      ];
  return asked(
    "Silence",
    [...about, choose("For", "seconds", SPANS), field("Why (optional)", "comment", { maxlength: 500 })],
    "Silence",
    (given) => {
      const [alertname, resource] = alert
        ? [alert.alertname, alert.resource]
        : [given.alertname.trim(), given.resource.trim()];
      return change("POST", "silences", {
        author: author(),
        alertname,
        resource,
        everything: !alertname && !resource,
        for_seconds: Number(given.seconds),
        comment: given.comment.trim(),
      });
    },
    (answer) => `Silenced until ${moment(answer.ends_at)}: ${answer.takes}`,
  );
}

export const endSilence = (one) =>
  ordered(
    () => change("DELETE", `silences/${encodeURIComponent(one.id)}`, { author: author() }),
    () => "The silence is over",
  );

export const markChange = () =>
  asked(
    "Mark a change",
    [
      h(
        "p",
        {},
        "What you have just changed on this host. An anomaly that follows is told with it, and is a record for a while.",
      ),
      field("What", "text", { maxlength: 200, required: true, autofocus: true, placeholder: "deploy 42 of shop" }),
    ],
    "Mark it",
    (given) => change("POST", "changes", { text: given.text.trim() }),
    () => "The change is marked",
  );

export function copyButton(text) {
  return h(
    "button",
    {
      type: "button",
      class: "quiet copy",
      "aria-label": `Copy ${text}`,
      onclick: async () => {
        try {
          await navigator.clipboard.writeText(text);
          say("Copied");
        } catch {
          say("The browser does not let this page copy; mark the text by hand");
        }
      },
    },
    "copy",
  );
}

// Every button of the page that is there from the beginning.
export function wireButtons() {
  at("mark-change").addEventListener("click", markChange);
  at("add-silence").addEventListener("click", () => silence(null));
}
