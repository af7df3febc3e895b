"""A real Chromium without a window: what it loaded, what it complained of, and how long it took."""

import contextlib
import json
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from real import need

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_AXE = Path(__file__).with_name("axe")


@contextlib.contextmanager
def chromium():
    """Yield a browser; skip where there is none and none can be installed."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    need("chromium", "chromium")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """One browser profile on one page; `origin` is where everything must come from."""

    def __init__(self, browser, origin, *, width=1280, height=900, scheme="light", **more):
        self.origin = origin
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", **more
        )
        self.page = self.context.new_page()
        self.complaints, self.addresses, self.bytes = [], [], 0
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.addresses.append(request.url))
        wire = self.context.new_cdp_session(self.page)
        wire.send("Network.enable")
        wire.on("Network.loadingFinished", self._count)

    def _count(self, event):
        self.bytes += event["encodedDataLength"]

    def open(self, until="drawn", path="/"):
        """Load the page and return the milliseconds until each of its marks; `until` is the one that is waited for."""
        self.page.goto(self.origin + path)
        return self.marked(until)

    def marked(self, until):
        marks = self.until(
            "Object.fromEntries(performance.getEntriesByType('mark').map((one) => [one.name, one.startTime]))",
            lambda found: until in found,
        )
        return {name: round(at) for name, at in marks.items()}

    def until(self, script, holds=bool, seconds=15):
        """Evaluate `script` until its value holds; the page's own policy forbids what playwright has for it."""
        give_up = time.monotonic() + seconds
        while True:
            value = self.page.evaluate(script)
            if holds(value):
                return value
            assert time.monotonic() < give_up, f"not within {seconds} s: {script} is {value!r}; {self.complaints}"
            self.page.wait_for_timeout(50)

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def strangers(self):
        """Return what was asked for beyond the origin."""
        return [one for one in self.addresses if urlsplit(one).scheme != "data" and not one.startswith(self.origin)]

    def sideways(self):
        """Return by how many pixels the page is wider than the window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def close(self):
        self.context.close()


def axe(folder):
    """Return the source of axe-core, installed by npm into `folder`; skip where npm or its registry is not there."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(_AXE / name, folder / name)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f"axe-core cannot be installed: {done.stderr.strip()[-200:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def grave(visit, source):
    """Return what axe-core finds serious or critical, in words."""
    visit.page.evaluate(source)
    found = json.loads(visit.page.evaluate("axe.run().then((one) => JSON.stringify(one.violations))"))
    return [
        f"{one['impact']}: {one['help']}: {[node['target'] for node in one['nodes']][:3]}"
        for one in found
        if one["impact"] in {"serious", "critical"}
    ]
