// The one door to the daemon: answers as objects, refusals as errors that say what to do, and who we are.

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

const session = { signedIn: false, csrf: "" };
export const isSignedIn = () => session.signedIn;

export async function ask(path) {
  const answer = await fetch(`/api/v1/${path}`, { headers: { Accept: "application/json" }, cache: "no-cache" });
  return read(answer);
}

// Return what was answered, or null: one part that fails must not empty the whole page.
export async function askOr(path, fallback = null) {
  try {
    return await ask(path);
  } catch (error) {
    if (error instanceof TypeError) throw error; // nobody answered at all
    return fallback;
  }
}

export async function change(method, path, body) {
  const answer = await fetch(`/api/v1/${path}`, {
    method,
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRF-Token": session.csrf },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (answer.status === 401 || (answer.status === 403 && !session.csrf)) take({});
  return read(answer);
}

export async function whoAmI() {
  take(await askOr("session", {}));
}

export async function signIn(token) {
  const answer = await fetch("/api/v1/session", { method: "POST", headers: { Authorization: `Bearer ${token}` } });
  if (answer.status === 401) throw new Refused(401, "This is not the token of this host.");
  take(await read(answer));
}

export async function signOut() {
  await change("DELETE", "session");
  take({});
}

function take(told) {
  session.signedIn = Boolean(told && told.signed_in);
  session.csrf = (told && told.csrf) || "";
  document.dispatchEvent(new Event("session"));
}

async function read(answer) {
  if (answer.ok) return answer.json();
  let text = `${answer.status} ${answer.statusText}`;
  try {
    const body = await answer.text();
    text = (answer.headers.get("Content-Type") || "").includes("json")
      ? JSON.parse(body).detail || text
      : body.trim() || text;
  } catch {
    // the status is all there is
  }
  throw new Refused(answer.status, text);
}
