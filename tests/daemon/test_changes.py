"""The change log on a real database, and the evidence a finding leaves with."""

from dataclasses import replace

import numpy as np
import pytest

from alerting.occurrence import Occurrence, State
from alerting.policy import Severity
from daemon.collectors.base import Noticed
from daemon.errors import CollectorError, StateError
from daemon.precedents import Precedents
from detectors.findings import Change, ChangeKind, Contributor, Culprit, Resource, Unit

UNIT, PACKAGE, MARK = ChangeKind.UNIT, ChangeKind.PACKAGE, ChangeKind.MARK


class Noticing:
    """A source of notices beside the fake ones of signals."""

    def __init__(self, collector):
        self.inner, self.waiting = collector, []
        self.name, self.deadline_seconds = collector.name, collector.deadline_seconds

    def collect(self, monotonic_ns):
        return self.inner.collect(monotonic_ns)

    def notices(self):
        out, self.waiting = self.waiting, []
        return out

    def close(self):
        pass


@pytest.fixture
async def host(hosts, quiet_collector):
    source = Noticing(quiet_collector(12))
    host = await hosts(source)
    host.source = source
    return host


async def test_what_is_noticed_is_kept_once(host, clock):
    seen = Noticed(PACKAGE, "dpkg upgraded x", clock.time_ms - 5000)
    for _ in range(2):
        host.source.waiting = [seen, Noticed(UNIT, "a.service started")]
        await host.take()
    kept = host.state.recent_changes(9)
    assert [change.text for change in kept].count("dpkg upgraded x") == 1
    assert [change.time_ms for change in kept if change.kind is UNIT] == [clock.time_ms, clock.time_ms - 30_000]


async def test_what_is_from_the_future_happened_now(host, clock):
    host.source.waiting = [Noticed(PACKAGE, "dpkg upgraded x", clock.time_ms + 10**9)]
    await host.take()
    assert host.state.recent_changes(1)[0].time_ms == clock.time_ms


async def test_what_cannot_be_stored_is_tried_again(host, monkeypatch):
    def full(_changes):
        raise StateError("no room")

    host.source.waiting = [Noticed(UNIT, "a.service started")]
    with monkeypatch.context() as patch:
        patch.setattr(host.state, "record_changes", full)
        await host.take(2)
    assert host.count("presaged_internal_failures_total", where="change_log") == 2
    await host.take()
    assert len(host.state.recent_changes(9)) == 1


@pytest.mark.parametrize(
    ("changes", "cited"),
    [
        ([(-10, UNIT, "a")], "a"),
        ([(-20, UNIT, "a"), (-10, UNIT, "b")], "b"),
        ([(-1800, PACKAGE, "p"), (-10, UNIT, "b")], "p"),  # the unit was restarted by the package
        ([(-20, PACKAGE, "p"), (-10, MARK, "m")], "m"),
        ([(-3601, PACKAGE, "p")], None),
        ([(1, UNIT, "a")], None),
        ([(-10, UNIT, "often"), (-4000, UNIT, "often"), (-8000, UNIT, "often")], None),
        ([(-10, UNIT, "often"), (-4000, UNIT, "often"), (-90_000, UNIT, "often")], "often"),
        ([], None),
    ],
)
async def test_which_change_is_cited(host, clock, changes, cited):
    host.changes._recent.extend(Change(clock.time_ms + seconds * 1000, kind, text) for seconds, kind, text in changes)
    found = host.changes.before(clock.time_ms)
    assert (found and found.text) == cited


async def test_a_reboot_and_a_new_kernel_are_noticed(hosts, fake_collector, clock, tmp_path):
    release = tmp_path / "proc/sys/kernel/osrelease"
    release.parent.mkdir(parents=True)
    release.write_text("6.1.0\n")
    more = {"proc": tmp_path / "proc"}
    await hosts(fake_collector(), **more)
    host = await hosts(fake_collector(), **more)  # the first start and a restart are no boot
    assert host.state.recent_changes(9) == []
    clock.advance(100)
    clock.reboot()
    host = await hosts(fake_collector(), **more)
    await host.take()
    (change,) = host.state.recent_changes(9)
    assert (change.kind, change.text) == (ChangeKind.BOOT, "the host was booted")
    assert change.time_ms == clock.time_ms - 50_000  # 20 s before the start, and one interval
    clock.reboot()
    release.write_text("6.2.0\n")
    host = await hosts(fake_collector(), **more)
    await host.take()
    assert host.state.recent_changes(1)[0].text == "the host was booted with the kernel 6.2.0"


async def test_a_mark_has_its_grace_and_a_restart_does_not_end_it(host, hosts, fake_collector, clock):
    assert not host.changes.in_grace(clock.now())
    await host.changes.mark("deploy 42")
    assert host.changes.in_grace(clock.advance(899))
    host = await hosts(fake_collector())
    assert host.changes.in_grace(clock.now())
    assert not host.changes.in_grace(clock.advance(2))
    assert [change.text for _, change in await host.changes.page(9)] == ["deploy 42"]


async def disturb(host):
    host.source.inner.shift[:] = 5.0
    await host.take(6, learn=False)
    return next(one for one in host.published[-1].alerts if one.alertname == "Anomaly")


async def test_a_finding_leaves_with_its_evidence(host, clock, monkeypatch):
    accused = Culprit("db.service", "postgres", Resource.CPU, 0.7, 0.1)
    monkeypatch.setattr(host.evidence._culprits, "name", lambda *_: (accused,))
    await host.take(200)
    host.source.waiting = [Noticed(PACKAGE, "dpkg upgraded postgresql-16", clock.time_ms - 600_000)]
    alert = await disturb(host)
    assert alert.culprits == (accused,)
    assert alert.change.text == "dpkg upgraded postgresql-16"
    assert alert.precedent is None
    host.source.waiting = [Noticed(MARK, "repair")]
    host.source.inner.shift[:] = 9.0
    await host.take(3, learn=False)
    assert host.published[-1].alerts[0].change.text == "dpkg upgraded postgresql-16"  # it did not come from its repair
    host.source.inner.shift[:] = 0.0
    await host.take(60, learn=False)
    assert host.published[-1].alerts == ()
    again = await disturb(host)
    assert again.precedent.occurrence == alert.id
    assert 0.8 <= again.precedent.likeness <= 1.0


async def test_a_fact_cites_the_change_before_it(host):
    host.source.waiting = [Noticed(ChangeKind.DEVICE, "the disk sdb disappeared")]
    await host.take(2)
    host.source.inner.error = CollectorError("gone")
    await host.take(8)
    (alert,) = host.published[-1].alerts
    assert (alert.alertname, alert.change.text) == ("StoppedCollecting", "the disk sdb disappeared")


async def test_culprits_that_cannot_be_found_cost_nothing_else(host, monkeypatch):
    def broken(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(host.evidence._culprits, "name", broken)
    await host.take(200)
    assert (await disturb(host)).culprits == ()


@pytest.mark.parametrize("marked", [False, True])
async def test_in_the_grace_an_anomaly_is_recorded_and_not_sent(host, marked, monkeypatch):
    monkeypatch.setattr(host.pipeline._dispatcher, "_sinks", ("hook",))
    monkeypatch.setattr(host.outbox, "added", lambda items, dropped: None)
    monkeypatch.setattr(type(host.watch), "learned", True)
    await host.take(200)
    if marked:
        await host.changes.mark("deploy 42")
    alert = await disturb(host)
    assert alert.told == (() if marked else ("hook",))
    assert [one.id for one in host.state.unsettled_occurrences()] == [alert.id]


# Precedents


def occurrence(identity, surprises, *, started_ms=0, lasted_ms=1_200_000, state=State.RESOLVED):
    parts = tuple(
        Contributor(signal, Unit.RATIO, "", "", 1.0, 0.0, 1.0, surprise) for signal, surprise in surprises.items()
    )
    return Occurrence(
        identity, "f", "Anomaly", "anomaly", "", Severity.RECORD, state, started_ms, started_ms,
        started_ms + lasted_ms if state is State.RESOLVED else None, None, None, "", "", parts,
    )  # fmt: skip


def test_the_most_similar_is_found_and_the_latest_of_equals():
    past = Precedents()
    past.learn(
        [
            occurrence("A", {"cpu": 3.0, "load": 2.0}, started_ms=1),
            occurrence("B", {"disk": 3.0}, started_ms=2),
            occurrence("C", {"cpu": 6.0, "load": 4.0}, started_ms=3),
            occurrence("D", {"cpu": 3.0}, state=State.FIRING),
            replace(occurrence("E", {"cpu": 3.0, "load": 2.0}), alertname="FilesystemReadOnly"),
            occurrence("F", {}),
        ]
    )
    found = past.most_like(occurrence("X", {"cpu": 3.1, "load": 2.0}).contributors)
    assert (found.occurrence, found.started_ms, found.lasted_seconds) == ("C", 3, 1200.0)
    assert past.most_like(occurrence("X", {"disk": 1.0, "net": 1.0}).contributors) is None
    assert past.most_like(()) is None


def test_likeness_is_the_cosine():
    rng = np.random.default_rng(1)
    for _ in range(50):
        a, b = rng.random(5), rng.random(5)
        past = Precedents()
        past.learn([occurrence("A", dict(zip("abcde", a, strict=True)))])
        found = past.most_like(occurrence("X", dict(zip("abcde", b, strict=True))).contributors)
        cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        assert (found.likeness if found else None) == (pytest.approx(cosine) if cosine >= 0.8 else None)
