"""One flipped bit anywhere in what is stored: no traceback, no wrong model, nothing lost that could be read.

The daemon itself, but for its listener, starts on a state folder in which one bit is another: in a database, its log,
a model, its manifest, the configuration or a small file. It may refuse in one line, set the history aside with the
file kept, serve an older model or none: never end in a traceback, never serve a model that is not as it was stored,
never lose a row that could be read before.
"""

import contextlib
import random
import shutil
import sqlite3
import traceback
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from alerting.occurrence import Occurrence, State, fingerprint_of
from alerting.outbox import OutboxItem
from alerting.policy import Severity
from alerting.verdict import Verdict, VerdictKind
from daemon.app import App
from daemon.config import load
from daemon.errors import ConfigError, StateError
from daemon.preflight import prepare
from daemon.web.operations import PageQuery
from detectors import registry
from detectors.registry import save

FLIPS = 40  # times the scale: 2,000 at 50
KINDS = ("history", "history log", "state", "state log", "model", "manifest", "config", "small files")
CONFIG = """config_version = 1
[host]
name = "web1"  # as people call it
[storage]
directory = "{state}"
[http]
listen = "127.0.0.1:0"
[anomaly]
network_after_samples = 9999
learning_days = 0
[compute]
backend = "numpy"
"""


def occurrence(number, now_ms, state=State.FIRING):
    name = f"01KJZ{number:021d}"
    return Occurrence(
        id=name, fingerprint=fingerprint_of("FilesystemReadOnly", "host", name), alertname="FilesystemReadOnly",
        network="host", resource=f"/mnt/{number}", severity=Severity.PAGE, state=state, started_ms=now_ms,
        fired_ms=now_ms, resolved_ms=now_ms if state is State.RESOLVED else None, score=None, threshold=None,
        detail="read-only", sentence=f"web1: /mnt/{number} is read-only", contributors=(), told=("ops",),
    )  # fmt: skip


class Elsewhere(Exception):
    """The flipped bit named another folder for the state."""


class Life:
    """The daemon as `run` makes it, with `work` in the place of what it serves until it is told to stop."""

    def __init__(self, folder, clock):
        self.folder, self.clock = folder, clock

    async def live(self, work):
        loaded = load(self.folder / "config.toml", {})
        if not loaded.state_directory.is_relative_to(self.folder):
            raise Elsewhere  # what the daemon would make there is no matter of this test
        prepared = prepare(loaded)
        app = App(loaded, prepared, clock=self.clock)

        async def serve():
            try:
                await work(app)
            finally:
                app._sampler.close()

        app._serve = serve
        try:
            await app.run()
        finally:
            app._offload.close()
            with contextlib.suppress(AttributeError):  # it never had one
                app._lock_file.close()
            prepared.listener.close()


async def take(app, clock, count):
    for _ in range(count):
        clock.advance(30)
        await app._tick.once()
        if app._watch.wants_to_learn():
            await app._learning._learn_from_window()


async def bring(app, clock, number):
    name = f"{number:012d}"
    manifest = {
        "name": name, "number": number, "trained_ms": clock.time_ms, "interval_seconds": 30.0,
        "samples": 100, "first_seq": 1, "last_seq": app._history.last()[0],
    }  # fmt: skip
    save(app._learning.promotion._models.incoming, app._watch.lesson(app._registry)(), manifest)
    await app._learning.promotion.receive(name)
    return name


@dataclass
class Stored:
    """A state folder as a kill left it, with what is in it."""

    folder: Path
    clock: object
    models: dict
    files: dict


@pytest.fixture
async def stored(tmp_path, clock, quiet_collector, monkeypatch):
    monkeypatch.setattr("daemon.app.build_collectors", lambda _context: [quiet_collector(12)])
    folder = tmp_path / "stored"
    folder.mkdir()
    (folder / "config.toml").write_text(CONFIG.format(state=folder / "state"))
    life = Life(folder, clock)

    async def first(app):
        await take(app, clock, 130)
        await app._learning.promotion.promote(await bring(app, clock, 100), "better")
        await take(app, clock, 10)
        await app._roll_up()
        await app._keep_house()

    async def second(app):
        await take(app, clock, 20)
        await app._learning.promotion.promote(await bring(app, clock, 150), "better")
        now_ms = clock.time_ms
        told = [occurrence(number, now_ms, [State.FIRING, State.RESOLVED][number % 2]) for number in range(8)]
        items = [OutboxItem(f"item{one.id}", "ops", one.id, "{}", now_ms) for one in told]
        app._state.record_transitions(told, items)
        app._state.record_verdict(Verdict("v1", told[1].id, VerdictKind.FALSE, "ann", "", now_ms))
        await app._mark_change("nginx 1.2 installed")
        await app._failures.mark("power cut", now_ms)
        await app._roll_up()
        await app._keep_house()
        await take(app, clock, 20)
        shutil.copytree(folder, tmp_path / "killed", ignore=shutil.ignore_patterns("*.reserve", "lock", "*-shm"))

    await life.live(first)
    await life.live(second)
    killed = tmp_path / "killed"
    models = {
        path.name: registry.load(path)[0] for path in (killed / "state/models/anomaly").iterdir() if path.is_dir()
    }
    files = dict.fromkeys(KINDS, ())
    for path in sorted(killed.rglob("*")):
        if path.is_file() and path.stat().st_size:
            files[kind_of(path)] += (path.relative_to(killed),)
    return Stored(killed, clock, models, files)


def kind_of(path):
    names = {"history.db": "history", "history.db-wal": "history log", "state.db": "state", "state.db-wal": "state log",
             "model.safetensors": "model", "manifest.json": "manifest", "config.toml": "config"}  # fmt: skip
    return names.get(path.name, "small files")


def sequence(path):
    """Return the numbers of the samples that can be read, None where not all can."""
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            rows = database.execute("SELECT * FROM samples NOT INDEXED").fetchall()
            if database.execute("PRAGMA integrity_check").fetchone()[0] != "ok":
                return None
        return {row[0] for row in rows}
    except (sqlite3.Error, UnicodeDecodeError):
        return None


def same(model, other):
    """Tell whether two models are one: what is not finite in both is."""
    arrays, others = model.context.arrays(), other.context.arrays()
    return (
        model.signal_ids == other.signal_ids
        and model.scales == other.scales
        and np.array_equal(model.tails, other.tails)
        and all(np.array_equal(arrays[key], others[key], equal_nan=True) for key in arrays)
    )


async def exercise(app, clock):
    """Do what a daemon does in its first day, and what people ask it."""
    await take(app, clock, 2)
    for job in app._jobs(app._loaded.config):
        if job.name in ("rollup", "housekeeping", "threshold", "forecast", "drift", "grade_risk"):
            with contextlib.suppress(StateError):  # the scheduler notes it and goes on
                await job.run()
    await take(app, clock, 2)
    for answer in (
        app._status(),
        app._tell_risk(),
        app._tell_drift(),
        await app._tell_month(),
        await app._tell_cost(),
        app._list_forecasts(None),
        await app._list_changes(PageQuery()),
        *await app._list_failures(100, None),
    ):
        assert str(answer)
    assert app._metrics.render()
    with contextlib.suppress(StateError):
        app._alerts.desk.silences()
        app._alerts.desk.verdicts()


def place_in(content, rng):
    """Return a place: one in four anywhere, the others where something stands; most of a young database is empty."""
    if rng.random() < 0.25:
        return rng.randrange(len(content))
    return rng.choice(np.flatnonzero(np.frombuffer(content, np.uint8)))


async def test_a_flipped_bit_costs_no_traceback_no_wrong_model_and_nothing_readable(stored, tmp_path, scale, seed):
    rng = random.Random(seed)
    counts, broken = Counter(), []
    for number in range(FLIPS * scale):
        kind = KINDS[number % len(KINDS)]
        name = rng.choice(stored.files[kind])
        folder = tmp_path / "flipped"
        shutil.copytree(stored.folder, folder)
        text = (folder / "config.toml").read_text()
        (folder / "config.toml").write_text(text.replace(str(tmp_path / "stored"), str(folder)))
        path = folder / name
        content = bytearray(path.read_bytes())
        place, bit = place_in(content, rng), rng.randrange(8)
        content[place] ^= 1 << bit
        path.write_bytes(content)
        before = sequence_of_copy(folder, tmp_path)
        try:
            word = await one_start(folder, stored)
        except Exception as error:  # noqa: BLE001 - what it must never be
            where = traceback.extract_tb(error.__traceback__)[-1]
            broken.append(f"{name} byte {place} bit {bit}: {error!r} at {where.filename}:{where.lineno}")
            word = "traceback"
        if word == "refused in more than a line":
            broken.append(f"{name} byte {place} bit {bit}: {word}")
        counts[kind, word] += 1
        after = sequence_of_copy(folder, tmp_path) if before is not None else None
        kept = (folder / "state/history.db.corrupt").exists()
        if before is not None and not kept and (after is None or not before <= after):
            broken.append(
                f"{name} byte {place} bit {bit}: {len(before)} samples could be read, now {after and len(after)}"
            )
        shutil.rmtree(folder)
    print(
        f"{FLIPS * scale} flipped bits:", {f"{kind}: {word}": count for (kind, word), count in sorted(counts.items())}
    )
    assert broken == []


def sequence_of_copy(folder, tmp_path):
    """Look at a copy: to open the file itself would fold its log in."""
    copy = tmp_path / "looked"
    copy.mkdir()
    for suffix in ("", "-wal"):
        path = folder / f"state/history.db{suffix}"
        if path.exists():
            shutil.copy(path, copy)
    try:
        return sequence(copy / "history.db")
    finally:
        shutil.rmtree(copy)


async def one_start(folder, stored):
    """Start and work; return how it went in a few words."""
    clock = type(stored.clock)(**vars(stored.clock))
    seen = []

    async def work(app):
        model, name = app._watch.model, app._watch.name
        if name:
            assert same(model, stored.models[name]), f"{name} serves, and is not what was stored"
        seen.append(name)
        await exercise(app, clock)
        seen.append(app._history.resets)

    try:
        await Life(folder, clock).live(work)
    except (StateError, ConfigError) as error:
        several = isinstance(error, StateError) and "\n" in str(error)
        return "refused in more than a line" if several else "refused"
    except Elsewhere:
        return "another folder"
    name, resets = seen
    if resets:
        return "history set aside"
    return "serves" if name == "000000000150" else f"serves {name or 'no stored model'}"
