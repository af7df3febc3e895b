"""A replay finds what the daemon found on the same samples, however it scores them, and tells what it would send."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from recorded import record
from server import INTERVAL, Server

from alerting.policy import Kept, Severity
from alerting.verdict import Verdict, VerdictKind
from daemon.backtest.recording import RecordedVerdicts
from daemon.backtest.replay import replay
from daemon.backtest.result import Samples
from daemon.backtest.source import read_changes, read_samples
from daemon.config import Anomaly, Config
from daemon.config_alerting import Alerting
from daemon.samples import FLAG_ALARMED, FLAG_DOUBTFUL, FLAG_GAP
from daemon.verdicts.effects import STEP, effect_of
from daemon.verdicts.table import Judged
from detectors.findings import Change, ChangeKind

ALWAYS = Config(
    anomaly=Anomaly(notify="always", learning_days=0, network_after_samples=1000),
    alerting=Alerting(for_seconds=60, keep_firing_seconds=300),
)
ROWS = 1450


@pytest.fixture(scope="module")
def server():
    """A day with a burst before the first training and one after it."""
    made = Server(3, days=1, reboot_day=99)
    busy = [place for place, spec in enumerate(made.specs) if spec.name.startswith("network.")]
    for row in (700, 1300):
        made.values[row : row + 12, busy] = made.values[row : row + 12, busy] * 40 + 5e6
    return made


@pytest.fixture
def samples(server):
    return samples_of(server)


def samples_of(server):
    count = ROWS
    time_ms = server.time_ms[:count]
    return Samples(
        specs=tuple(server.specs),
        signal_ids=tuple(range(1, len(server.specs) + 1)),
        values=server.values[:count].copy(),
        seq=np.arange(1, count + 1),
        time_ms=time_ms.copy(),
        monotonic_ns=time_ms * 1_000_000,
        boot=np.ones(count, np.int64),
        hours=server.hours[:count].copy(),
        flags=np.zeros(count, np.int64),
    )


class Rows:
    """The server's rows as one source; it counts them by the clock."""

    name, deadline_seconds = "cpu", 5.0

    def __init__(self, server, clock):
        self.server, self.clock, self.start_ms = server, clock, clock.time_ms

    def collect(self, monotonic_ns):
        row = round((self.clock.time_ms - self.start_ms) / 1000 / INTERVAL) - 1
        return [(spec, float(value)) for spec, value in zip(self.server.specs, self.server.values[row], strict=True)]

    def close(self):
        pass


def known(occurrences):
    """What an alert is, without what only a live host can tell of it and its number."""
    return [
        (one.alertname, one.severity, one.kept, one.started_ms, one.fired_ms, one.resolved_ms, one.firings)
        for one in occurrences
    ]


@pytest.mark.timeout(300)  # a child of the lowest priority trains
async def test_it_finds_what_the_daemon_found(hosts, clock, server, tmp_path):
    """Window lessons, the first training in a real child, gaps by a suspend and a clock that jumps."""
    (tmp_path / "proc").mkdir()
    host = await hosts(Rows(server, clock), config=ALWAYS, proc=tmp_path / "proc")
    learned = []
    for row in range(ROWS):
        clock.advance(INTERVAL)
        if row == 900:
            clock.time_ms += 3600 * 1000
            clock.boottime_ns += 3600 * 10**9
            host.collectors[0].start_ms += 3600 * 1000
        if row == 1100:
            clock.time_ms -= 600 * 1000
            host.collectors[0].start_ms -= 600 * 1000
        snapshot = await host.tick.once()
        learned.append((snapshot.anomaly.raw, snapshot.anomaly.threshold))
        host.learning.after_tick()
        await host.learning.catch_up()
    assert host.watch.lasting
    live = host.history.last_rows(ROWS)
    stored = list(reversed(host.state.recent_occurrences(1000)))

    samples = read_samples(host.directory)
    again = await replay(samples, read_changes(host.directory), ALWAYS, name="again", host="web1")

    raw, threshold = np.array([[np.nan if value is None else value for value in pair] for pair in learned]).T
    assert np.isfinite(raw).sum() > ROWS - 200
    np.testing.assert_allclose(again.raw, raw, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(again.threshold, threshold, rtol=1e-4, atol=1e-4)
    assert (again.alarmed == ((live.flags & FLAG_ALARMED) != 0)).all()
    assert known(again.occurrences) == known(stored)
    assert len([one for one in stored if one.alertname == "Anomaly"]) >= 2
    assert (samples.flags & FLAG_GAP).sum() == 2
    assert (samples.flags & FLAG_DOUBTFUL).any()


async def test_hours_at_once_score_as_one_by_one(samples):
    samples.flags[800] |= FLAG_GAP
    samples.time_ms[800:] += 300_000
    samples.monotonic_ns[800:] += 300 * 10**9
    samples.values[400:405] = np.nan
    samples.values[:600, 5] = np.nan  # a signal that comes later
    ahead = await replay(samples, (), ALWAYS, name="ahead", host="web1")
    live = await replay(samples, (), ALWAYS, name="live", host="web1", live=True)
    np.testing.assert_allclose(ahead.raw, live.raw, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(ahead.threshold, live.threshold, rtol=1e-5, atol=1e-5)
    assert known(ahead.occurrences) == known(live.occurrences)


async def test_time_goes_on_over_boots_and_from_imported_to_own_samples(samples):
    """A monotonic clock begins anew with each boot; a count of hours must not."""
    whole = await replay(samples, (), ALWAYS, name="whole", host="web1")
    for row, start_ns in ((710, 7 * 10**9), (1306, 9 * 10**9)):  # in the middle of both bursts
        samples.boot[row:] += 1
        samples.monotonic_ns[row:] = start_ns + 30 * 10**9 * np.arange(ROWS - row)
        samples.flags[row] |= FLAG_GAP
    booted = await replay(samples, (), ALWAYS, name="booted", host="web1")
    assert (np.diff(booted.episodes) >= 0).all()
    assert 0 < booted.episodes[-1] <= whole.episodes[-1] + 4
    assert all(one.resolved_ms is None or one.resolved_ms >= one.started_ms for one in booted.occurrences)


async def test_what_would_be_sent_is_kept_in_order_and_named_alike_each_time(samples):
    first = await replay(samples, (), ALWAYS, name="a", host="web1")
    again = await replay(samples, (), ALWAYS, name="a", host="web1")
    assert [one.document["event"] for one in first.notifications][:2] == ["firing", "resolved"]
    assert all(one.sink == "you" for one in first.notifications)
    told = [one for one in first.occurrences if one.told]
    assert {one.id for one in told} == {number for one in first.notifications for number in one.occurrences}
    assert [one.id for one in first.occurrences] == [one.id for one in again.occurrences]
    assert [one.document for one in first.notifications] == [one.document for one in again.notifications]
    assert len({one.id[-6:] for one in first.occurrences}) == len(first.occurrences)  # what people type
    assert "web1: unusual: network." in str(first.notifications[0].document["sentence"])


async def test_the_learning_time_sends_no_judgement_but_a_digest(samples):
    learning = ALWAYS.model_copy(update={"anomaly": ALWAYS.anomaly.model_copy(update={"learning_days": 7})})
    result = await replay(samples, (), learning, name="a", host="web1")
    assert not result.learned.any()
    assert {one.kept for one in result.occurrences if one.alertname == "Anomaly"} == {Kept.LEARNING}
    assert [one.document["event"] for one in result.notifications if one.document["event"] != "digest"] == []


async def test_a_marked_change_has_its_grace_and_others_are_cited(samples):
    at = int(samples.time_ms[1300])
    changes = [
        Change(at - 60_000, ChangeKind.UNIT, "app.service started"),
        Change(at - 30_000, ChangeKind.MARK, "deploy 42"),
    ]
    before = await replay(samples, changes[:1], ALWAYS, name="a", host="web1")
    after = await replay(samples, changes, ALWAYS, name="a", host="web1")
    late = [
        next(one for one in result.occurrences if one.alertname == "Anomaly" and one.started_ms >= at)
        for result in (before, after)
    ]
    assert (late[0].kept, late[1].kept) == (Kept.NOT, Kept.CHANGE)
    assert "after app.service started" in late[0].sentence
    assert "deploy 42" in late[1].sentence


async def test_facts_that_signals_show_are_told_from_the_first_minute(samples):
    names = [spec.name for spec in samples.specs]
    mount = next(spec for spec in samples.specs if spec.name.endswith(".read_only"))
    samples.values[100:, names.index(mount.name)] = 1.0
    disks = [place for place, spec in enumerate(samples.specs) if spec.family == "disk"]
    samples.values[200:, disks] = np.nan
    result = await replay(samples, (), Config(), name="a", host="web1")
    pages = {one.alertname: one for one in result.occurrences if one.severity is Severity.PAGE}
    assert pages["FilesystemReadOnly"].started_ms == samples.time_ms[100]
    assert pages["StoppedCollecting"].resource == "disk"
    assert pages["StoppedCollecting"].started_ms == samples.time_ms[202]
    assert len(result.notifications) >= 2


@pytest.mark.parametrize("count", [0, 1, 59])
async def test_next_to_no_history_gives_next_to_nothing(samples, count):
    few = replace(
        samples,
        **{
            name: getattr(samples, name)[:count]
            for name in ("values", "seq", "time_ms", "monotonic_ns", "boot", "hours", "flags")
        },
    )
    result = await replay(few, (), Config(), name="a", host="web1")
    assert len(result.raw) == count
    assert np.isnan(result.raw).all()
    assert result.notifications == ()


async def test_the_recorded_state_folder_is_read_as_it_was(server, tmp_path):
    rows = record(server, tmp_path / "state")
    samples = read_samples(tmp_path / "state")
    order = np.argsort([spec.name for spec in samples.specs])
    expected = server.values[rows][:, np.argsort([spec.name for spec in server.specs])]
    np.testing.assert_array_equal(samples.values[:, order], expected)
    part = read_samples(tmp_path / "state", int(server.time_ms[10]), int(server.time_ms[20]))
    np.testing.assert_array_equal(part.time_ms, server.time_ms[10:20])


def said(alert, kind):
    """A verdict ten minutes after the end of an alert, and what it changes."""
    verdict = Verdict("v1", alert.id, kind, "admin", "", alert.resolved_ms + 600_000)
    return Judged(verdict, effect_of(verdict, alert))


@pytest.fixture(scope="module")
def bare(server):
    """What came of the day when nobody had said anything."""
    return asyncio.run(replay(samples_of(server), (), ALWAYS, name="a", host="web1"))


async def test_verdicts_act_from_when_they_were_given_as_they_did_in_the_daemon(samples, bare):
    first, *others = (one for one in bare.occurrences if one.alertname == "Anomaly")
    assert others
    late = said(first, VerdictKind.FALSE)
    late = replace(late, verdict=replace(late.verdict, time_ms=int(samples.time_ms[-1]) + 1))
    judged = [said(first, VerdictKind.EXPECTED), late]
    told = await replay(samples, (), ALWAYS, name="a", host="web1", judged=judged)
    before = samples.time_ms < first.resolved_ms + 600_000
    assert (told.alarmed == bare.alarmed)[before].all()
    assert told.alarmed[~before].sum() < bare.alarmed[~before].sum()
    assert (bare.honoured, told.honoured) == (0, 1)


def test_a_false_word_raises_the_threshold_from_then_on_and_what_is_open_is_an_incident_up_to_now(bare):
    alert = bare.occurrences[0]
    given_ms = alert.resolved_ms + 600_000
    real = said(alert, VerdictKind.REAL)
    words = RecordedVerdicts([said(alert, VerdictKind.FALSE), replace(real, effect=replace(real.effect, end_ms=None))])
    assert [words.at(time_ms).factor for time_ms in (given_ms - 1, given_ms, given_ms + 29 * 86_400_000)] == [
        1,
        STEP,
        1,
    ]
    assert words.incidents(given_ms - 1) == []
    assert words.incidents(given_ms + 5) == [(alert.started_ms, given_ms + 6)]


async def test_what_was_real_is_not_learned_from(samples, bare):
    first = next(one for one in bare.occurrences if one.alertname == "Anomaly")
    judged = said(replace(first, started_ms=first.started_ms - 4 * 3_600_000), VerdictKind.REAL)
    real = await replay(samples, (), ALWAYS, name="a", host="web1", judged=[judged])
    before = samples.time_ms < judged.verdict.time_ms
    np.testing.assert_array_equal(real.raw[before], bare.raw[before])
    assert (real.raw != bare.raw)[-300:].mean() > 0.9  # another model: it has learned from less
