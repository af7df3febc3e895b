// The stream of events, and what is known of the connection: live, reconnecting, or silent.
//
// A browser gives up on a stream that was refused once; this one never does, or a page left open over a restart of the
// daemon would show yesterday.

const LONGEST_MS = 5000;
const GONE_MS = 4000;
const REST_MS = 30_000;

export class Live {
  // `heard`: {tick, alert, restarted, poll, state}. A state is "live", "waiting" (for an answer), "asking" (answers, but no
  // stream) or "gone", with the time of the last word.
  constructor(heard) {
    this.heard = heard;
    this.stream = "";
    this.lastMs = 0;
    this.interval = 30;
    this.delay = 500;
    this.state = "waiting";
    setInterval(() => this.watch(), 1000);
    document.addEventListener("visibilitychange", () => (document.hidden ? this.rest() : this.wake()));
    this.connect();
  }

  // A page that nobody sees gives its connection back: a browser has six for one server, and a stream holds one.
  rest() {
    this.resting = setTimeout(() => {
      clearTimeout(this.timer);
      this.source.close();
      this.source = null;
    }, REST_MS);
  }

  wake() {
    clearTimeout(this.resting);
    if (!this.source) this.connect();
  }

  connect() {
    clearTimeout(this.timer);
    this.source?.close();
    const source = new EventSource("/api/v1/events");
    this.source = source;
    source.addEventListener("hello", (event) => this.greet(JSON.parse(event.data)));
    source.addEventListener("tick", (event) => {
      this.note();
      this.heard.tick(JSON.parse(event.data));
    });
    source.addEventListener("alert", (event) => {
      this.note();
      this.heard.alert(JSON.parse(event.data));
    });
    source.addEventListener("open", () => this.note());
    source.addEventListener("error", () => {
      source.close(); // our own turn: it comes back at once after a restart, whatever it was refused with
      this.say("waiting");
      this.ask();
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.connect(), this.delay);
      this.delay = Math.min(LONGEST_MS, this.delay * 1.6);
    });
  }

  greet(told) {
    this.note();
    this.interval = told.interval_seconds;
    const again = this.stream !== "" && this.stream !== told.stream;
    this.stream = told.stream;
    if (again) this.heard.restarted(told.version);
  }

  note() {
    this.lastMs = Date.now();
    this.delay = 500;
    this.say("live");
  }

  // Where no stream is to be had (a proxy, too many readers) the daemon may still answer: then it is asked instead.
  async ask() {
    const answer = await fetch("/healthz", { cache: "no-store" }).catch(() => null);
    if (this.state === "live") return;
    if (answer && answer.ok) {
      this.lastMs = Date.now();
      this.say("asking");
      this.heard.poll();
    } else if (Date.now() - this.lastMs > GONE_MS) this.say("gone");
  }

  watch() {
    if (!this.source) return;
    const quiet = Date.now() - this.lastMs;
    if (this.state === "live" && quiet > Math.max(20_000, 3.5 * this.interval * 1000)) {
      this.say("waiting"); // the line is open and nothing comes: a sleeping laptop, a stopped daemon
      this.connect();
    }
  }

  say(state) {
    if (state === this.state) return;
    this.state = state;
    this.heard.state(state, this.lastMs);
  }
}
