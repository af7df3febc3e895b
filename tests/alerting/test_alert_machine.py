"""The state machine under any sequence of findings, gaps, clock jumps and restarts, against a plain model."""

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from alerting.alert import AlertBook, Event
from alerting.occurrence import State, from_json, to_json
from alerting.policy import PolicySettings
from detectors.findings import Finding, Strength

FOR, KEEP, FLAPPING_KEEP, GAP = 60.0, 120.0, 1_800.0, 75.0
RESOURCES = ("", "/a", "/b")


class Tick:
    def __init__(self, time_ms, monotonic_ns):
        self.time_ms = time_ms
        self.monotonic_ns = monotonic_ns


def keep(one):
    """How long an alert must be clear: longer once it comes and goes and somebody was told of it."""
    return FLAPPING_KEEP if one.firings >= 3 and one.told else KEEP


class AlertMachine(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.numbers = count()
        self.seconds = 0.0
        self.wall_ms = 10**12
        self.raised_since = dict.fromkeys(RESOURCES)  # since when raised at every tick, without a gap
        self.clear_since = dict.fromkeys(RESOURCES)
        self.fired = {}
        self.resolved = set()
        self.restart(0.0)

    @rule(down=st.floats(0, 10_000))
    def restart(self, down):
        stored = [from_json(to_json(one)) for one in getattr(self, "book", None).active] if self.fired else []
        self.seconds = down  # the monotonic clock of another boot
        policy = PolicySettings("always", FOR, KEEP)
        self.book = AlertBook(
            policy, gap_seconds=GAP, new_id=lambda time_ms: f"{next(self.numbers)}", describe=lambda one: "."
        )
        now = Tick(self.wall_ms, int(self.seconds * 1e9))
        self.book.restore([one for one in stored if one.state is State.FIRING], now)
        self.raised_since = dict.fromkeys(RESOURCES)
        self.clear_since = dict.fromkeys(RESOURCES)

    @rule(
        strengths=st.fixed_dictionaries({one: st.sampled_from([None, *Strength]) for one in RESOURCES}),
        passed=st.sampled_from([1.0, 30.0, 30.0, 60.0, 75.0, 75.5, 4000.0]),
        jump_ms=st.sampled_from([0, 0, 0, -(10**9), 10**9]),
        score=st.floats(0, 10),
    )
    def observe(self, strengths, passed, jump_ms, score):
        self.seconds += passed
        self.wall_ms += int(passed * 1000) + jump_ms
        for resource, strength in strengths.items():
            gap = passed > GAP
            self._watch(self.raised_since, resource, holds=strength is Strength.RAISED, gap=gap)
            self._watch(self.clear_since, resource, holds=strength is None, gap=gap)
        findings = [
            Finding("Anomaly", "anomaly", resource, strength, "unusual", score, 3.0)
            for resource, strength in strengths.items()
            if strength is not None
        ]
        now = Tick(self.wall_ms, int(self.seconds * 1e9))
        for transition in self.book.observe(findings, now):
            self._check(transition)

    @rule(resource=st.sampled_from(RESOURCES))
    def tell(self, resource):
        if self.clear_since[resource] is None:  # the pipeline tells in the tick of the firing
            for one in self.book.active:
                if one.resource == resource and one.state is State.FIRING:
                    self.book.update(replace(one, told=("ops",)))

    def _watch(self, since, resource, *, holds, gap):
        if not holds:
            since[resource] = None
        elif since[resource] is None or gap:
            since[resource] = self.seconds

    def _check(self, transition):
        one = transition.occurrence
        if transition.event is Event.FIRING:
            assert one.id not in self.fired
            assert self.seconds - self.raised_since[one.resource] >= FOR - 1e-6
            assert one.fired_ms >= one.started_ms
            self.fired[one.id] = one
            assert 1 <= one.firings <= sum(one.resource == before.resource for before in self.fired.values())
        elif transition.event is Event.PEAK:
            assert one.score > self.fired[one.id].score
            self.fired[one.id] = one
        else:
            assert one.id in self.fired
            assert one.id not in self.resolved
            assert self.seconds - self.clear_since[one.resource] >= keep(one) - 1e-6
            assert one.resolved_ms >= one.fired_ms
            self.resolved.add(one.id)

    @invariant()
    def one_open_occurrence_a_fingerprint(self):
        active = self.book.active
        assert len({one.fingerprint for one in active}) == len(active)
        assert len({one.id for one in active}) == len(active)

    @invariant()
    def firing_is_what_fired_and_was_not_resolved(self):
        firing = {one.id for one in self.book.active if one.state is State.FIRING}
        assert firing == self.fired.keys() - self.resolved

    @invariant()
    def what_was_raised_long_enough_fires(self):
        firing = {one.resource for one in self.book.active if one.state is State.FIRING}
        for resource, since in self.raised_since.items():
            assert since is None or self.seconds - since < FOR + 1e-6 or resource in firing

    @invariant()
    def what_was_clear_long_enough_is_over(self):
        active = {one.resource: one for one in self.book.active}
        for resource, since in self.clear_since.items():
            if since is not None and resource in active:
                assert self.seconds - since < keep(active[resource]) + 1e-6


@pytest.mark.filterwarnings("error")
class TestAlertMachine(AlertMachine.TestCase):
    settings = hypothesis_settings(max_examples=60, stateful_step_count=40, deadline=None)
