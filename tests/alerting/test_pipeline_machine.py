"""The whole pipeline under any sequence of firings, ends, silences, words, restarts, jumps and failures of its store.

The judge is what a receiver is given: the outbox is emptied in its order, into a log for each sink. Beside it a plain
model knows what holds, what is silenced and since when a page could have been told.
"""

import asyncio
import json
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from alerting.alert import AlertBook
from alerting.dispatch import DispatchSettings
from alerting.errors import StoreError
from alerting.limit import Limits
from alerting.occurrence import State
from alerting.outbox import ItemState, Outbox, steady_clock
from alerting.pipeline import Pipeline, PipelineSettings
from alerting.policy import PolicySettings, Severity
from alerting.render import sentence
from alerting.route import Escalation
from alerting.silence import Match, Silence
from alerting.ulid import UlidSource
from daemon.clock import Instant
from daemon.state import StateDatabase
from detectors.findings import Finding, Strength

START_MS = 1_772_344_800_000
DAY_MS = 86_400_000
FOREVER_MS = 2**62
JOIN_SECONDS, ESCALATE_SECONDS = 60.0, 900.0
PAGES = ("a.service", "b.service", "c.service")
DISK = "sda"  # a ticket
SINKS = ("ops", "chat", "boss")  # boss is for escalation
SCALE = int(os.environ.get("PRESAGED_TEST_SCALE", "1"))


class FailingStore:
    """state.db without threads, that fails when it is told to: before a write, or after it."""

    def __init__(self, database):
        self.database = database
        self.fails = ""

    def __getattr__(self, name):
        async def ask(*args, **named):
            if self.fails == "before":
                raise StoreError("no room")
            answer = getattr(self.database, name)(*args, **named)
            if self.fails == "after":
                raise StoreError("did not end within 10 s")
            return answer

        return ask


class Named:
    takes_digests = True

    def __init__(self, name):
        self.name = name


def every_news(payload):
    document = json.loads(payload)
    return [(one["occurrence"], one["reason"], one["resource"]) for one in (document, *document["also"])]


class PipelineMachine(RuleBasedStateMachine):
    limits = Limits(10, 0.0)

    def __init__(self):
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = Path(tempfile.mkdtemp(prefix="presaged-machine-"))
        self.database = StateDatabase(self.directory / "state.db")
        self.database._connection.execute("PRAGMA synchronous = OFF")  # nobody pulls a plug here
        self.store = FailingStore(self.database)
        self.wall_ms, self.monotonic_ns = START_MS, 10**12
        self.new_id = UlidSource()
        self.numbers = count(1)
        self.jumped_days = 0
        self.holding = set()
        self.silences = {}
        self.acknowledged = set()
        self.excused = set()  # pages that were silenced at a tick before they were over and told: nobody need know
        self.tellable_since = {}  # monotonic seconds, of pages that fire and are not silenced, by id
        self.log = {sink: [] for sink in SINKS}
        self.ids = set()

    def start(self):
        settings = PipelineSettings(
            PolicySettings("always", 60.0, 120.0),
            DispatchSettings(
                escalation=Escalation(ESCALATE_SECONDS, ("boss",)), repeat_seconds=3_600.0, limits=self.limits
            ),
        )
        self.outbox = Outbox(
            self.store, [Named(name) for name in SINKS], now_ms=steady_clock(self.wall_ms, lambda: self.monotonic_ns)
        )
        self.pipeline = Pipeline(
            "web1",
            settings,
            book=AlertBook(settings.policy, gap_seconds=10**6, new_id=self.new_id, describe=partial(sentence, "web1")),
            store=self.store,
            outbox=self.outbox,
            new_id=self.new_id,
        )
        self.wait(self.pipeline.restore(self.now))
        self.tellable_since = {}
        add = self.pipeline._add

        def watched(item):
            self.look_at(item)
            add(item)

        self.pipeline._add = watched

    def wait(self, work):
        return self.loop.run_until_complete(work)

    @property
    def now(self):
        return Instant(self.wall_ms, self.monotonic_ns, self.monotonic_ns, "boot")

    @property
    def seconds(self):
        return self.monotonic_ns / 1e9

    # What may happen

    @initialize()
    def begin(self):
        self.start()

    @rule(names=st.sets(st.sampled_from([*PAGES, DISK])), passed=st.sampled_from([30, 30, 61, 61, 130, 400, 2_000]))
    def hold(self, names, passed):
        """Let these findings hold for a while: a tick at its beginning and one at its end."""
        self.holding = names
        self.tick(1)
        self.tick(passed)

    @rule(passed=st.sampled_from([30, 61, 130, 400, 2_000, 3_700]))
    def go_on(self, passed):
        self.tick(passed)

    @precondition(lambda self: self.store.fails != "after")
    @rule(name=st.sampled_from([*PAGES, DISK, "*"]), seconds=st.sampled_from([60, 500, 3_000, 100_000]))
    def silence(self, name, seconds):
        number = f"silence{next(self.numbers):03d}"
        one = Silence(number, Match(resource=name), self.wall_ms, self.wall_ms + seconds * 1000, "ana", "")
        with suppress(StoreError):
            self.wait(self.pipeline.silence(one))
            self.silences[number] = one

    @precondition(lambda self: self.silences and self.store.fails != "after")
    @rule(data=st.data())
    def expire(self, data):
        one = self.silences[data.draw(st.sampled_from(sorted(self.silences)))]
        ended = replace(one, ends_ms=self.wall_ms)
        with suppress(StoreError):
            self.wait(self.pipeline.silence(ended))
            self.silences[one.id] = ended

    @rule(data=st.data())
    def acknowledge(self, data):
        firing = sorted(one.id for one in self.pipeline.active if one.state is State.FIRING)
        if firing:
            number = data.draw(st.sampled_from(firing))
            with suppress(StoreError):
                self.wait(self.pipeline.acknowledge(number, "ben", self.now))
            self.acknowledged.add(number)  # whether it is stored already or not

    @precondition(lambda self: not self.store.fails)
    @rule()
    def restart(self):
        stored = {one.id: one for one in self.database.unsettled_occurrences()}
        self.acknowledged &= {number for number, one in stored.items() if one.acknowledged}
        self.start()
        firing = {one.id for one in stored.values() if one.state is State.FIRING}
        assert {one.id for one in self.pipeline.active} == firing

    @rule(days=st.sampled_from([-1, 1]))
    def jump(self, days):
        """Set the wall clock by a day, by three at most; the other clocks go on as they were."""
        self.jumped_days = max(-3, min(3, days + (before := self.jumped_days)))
        self.wall_ms += (self.jumped_days - before) * DAY_MS

    @rule(how=st.sampled_from(["before", "after", "", ""]))
    def break_or_mend_the_store(self, how):
        self.store.fails = how

    @rule(sink=st.sampled_from(SINKS), most=st.integers(1, 5), data=st.data())
    def deliver(self, sink, most, data):
        self.hand_over(sink, most, taken=lambda: data.draw(st.booleans()))

    # What is to be seen

    def hand_over(self, sink, most, taken=lambda: True):
        """Give a sink what is due, in this order; what it does not take stays where it is."""
        for item in self.database.due_items(sink, now_ms=FOREVER_MS, beyond_ms=FOREVER_MS, limit=most):
            if not taken():
                continue
            assert item.id not in self.ids
            assert json.loads(item.payload)["id"] == item.id
            self.ids.add(item.id)
            for number, reason, _ in every_news(item.payload):
                self.receive(sink, number, reason)
            self.database.record_attempt(item.id, state=ItemState.DELIVERED, attempts=1, next_attempt_ms=0, error=None)

    def receive(self, sink, number, reason):
        before = [what for one, what in self.log[sink] if one == number]
        assert "ended" not in before
        if reason == "began":
            assert before == []
        elif reason != "ended":  # an end alone is of what was over before its turn came
            assert "began" in before
        self.log[sink].append((number, reason))

    def is_silenced(self, resource):
        return any(
            one.starts_ms <= self.wall_ms < one.ends_ms and one.match.resource in {"*", resource}
            for one in self.silences.values()
        )

    def look_at(self, item):
        """Nothing is made that is new to its sink while it is silenced, and nothing again of what is in hand."""
        for number, reason, resource in every_news(item.payload):
            if reason == "again":
                assert number not in self.acknowledged
            if reason in {"began", "again"} or item.sink not in self.told_of(number):
                assert not self.is_silenced(resource), (item.sink, number, reason)

    def tick(self, passed):
        self.wall_ms += passed * 1000
        self.monotonic_ns += passed * 10**9
        findings = [
            Finding("DiskHealth" if one == DISK else "UnitFailed", "host", one, Strength.RAISED, "it is so")
            for one in (*PAGES, DISK)
            if one in self.holding
        ]
        over = list(self.pipeline._owed.values())
        self.wait(self.pipeline.observe(findings, self.now, learned=True))
        over += self.pipeline._owed.values()
        for one in (*over, *self.pipeline.active):
            if one.state is not State.PENDING and self.is_silenced(one.resource):
                self.excused.add(one.id)
        self.look_at_what_fires()

    def look_at_what_fires(self):
        """A page that fires and is not silenced is told: in a minute to those who are for it, later to others."""
        firing = {one.id: one for one in self.pipeline.active if one.state is State.FIRING}
        self.tellable_since = {
            number: self.tellable_since.get(number, self.seconds)
            for number, one in firing.items()
            if one.severity is Severity.PAGE and not self.is_silenced(one.resource)
        }
        if self.store.fails or self.limits.per_hour:
            return
        for number, since in self.tellable_since.items():
            if self.seconds - since < JOIN_SECONDS:
                continue
            told = self.told_of(number)
            assert {"ops", "chat"} <= told
            lying_seconds = abs(self.outbox.now_ms() - firing[number].first_told_ms) / 1000
            if number not in self.acknowledged and lying_seconds >= ESCALATE_SECONDS + JOIN_SECONDS:
                assert "boss" in told

    def told_of(self, number):
        """The sinks for whom the beginning of an alert is made, whether it is stored already or not."""
        rows = self.database._read("SELECT sink, payload FROM outbox WHERE instr(payload, ?)", number)
        rows += [(item.sink, item.payload) for item in self.pipeline._unsaved_items]
        return {
            sink
            for sink, payload in rows
            for one, reason, _ in every_news(payload)
            if (one, reason) == (number, "began")
        }

    @invariant()
    def one_open_alert_a_resource(self):
        if hasattr(self, "pipeline"):
            active = self.pipeline.active
            assert len({one.fingerprint for one in active}) == len(active)

    def teardown(self):
        try:
            if hasattr(self, "pipeline"):
                self.end_well()
        finally:
            self.loop.close()
            self.database.close()
            shutil.rmtree(self.directory)

    def end_well(self):
        """In the end all is over: everything is told, each beginning has its one end, and nothing is left."""
        self.store.fails = ""
        self.holding = set()
        for one in self.silences.values():
            self.wait(self.pipeline.silence(replace(one, ends_ms=one.starts_ms)))
        self.silences = {}
        for _ in range(8):
            self.tick(2_000)
        for _ in range(200):  # the limit lets one go in half an hour
            if self.pipeline._owed:
                self.tick(2_000)
        while any(self.database.count_pending().values()):
            for sink in SINKS:
                self.hand_over(sink, 50)
        assert self.pipeline.active == ()
        assert self.database.unsettled_occurrences() == []
        assert self.pipeline._owed == {}
        assert (self.pipeline._unsaved, self.pipeline._unsaved_items) == ({}, [])
        assert self.pipeline.lost == 0
        assert self.pipeline._dispatcher._groups._told_ms == {}
        owing = {one.id for one in self.database.recent_occurrences(10_000) if one.severity is Severity.PAGE}
        for sink in ("ops", "chat"):
            assert owing - self.excused <= {number for number, _ in self.log[sink]}
        for log in self.log.values():
            began, ended = ([number for number, what in log if what == this] for this in ("began", "ended"))
            assert len(began) == len(set(began))
            assert len(ended) == len(set(ended))
            assert set(began) <= set(ended)


class LimitedMachine(PipelineMachine):
    """The same with a limit that holds back: what had no turn is told later, or as over."""

    limits = Limits(2, 2.0)


quick = hypothesis_settings(
    max_examples=150 * SCALE, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.soak
@pytest.mark.timeout(120 * SCALE)
class TestPipelineMachine(PipelineMachine.TestCase):
    settings = quick


@pytest.mark.soak
@pytest.mark.timeout(120 * SCALE)
class TestLimitedMachine(LimitedMachine.TestCase):
    settings = quick
