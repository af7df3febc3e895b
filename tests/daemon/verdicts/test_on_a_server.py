"""Verdicts on a simulated server: mistaken ones hide no real fault, and what is expected is not told again.

A service that crashes again and again, and one whose requests suddenly cost tenfold until the host swaps.
PRESAGED_TEST_SCALE is the number of servers; from 2 on they are a week old before anything fails, as the threshold of a
host of two days may follow the crashes themselves, with and without verdicts.
"""

import os

import numpy as np
import pytest
from replay import Replay
from server import DAY, Server

from alerting.occurrence import Occurrence, State
from alerting.policy import Severity
from alerting.verdict import Verdict, VerdictKind
from daemon.verdicts.effects import ALL_STEPS, effect_of, factor

SCALE = int(os.environ.get("PRESAGED_TEST_SCALE", "1"))
SEEDS, DAYS = ([2], 2) if SCALE == 1 else (range(1, SCALE + 1), 7)

pytestmark = [pytest.mark.timeout(900), pytest.mark.soak]


class Life:
    """What came of a server's days, and what operators said meanwhile."""

    def __init__(self, server, folder):
        self.server = server
        self.replay = Replay(server, folder)

    async def run(self):
        self.out = await self.replay.run()
        return self

    def alarmed(self, first_day, end_day):
        """The share of samples of the time that are alarmed."""
        return float(self.out.alarmed[round(first_day * DAY) : round(end_day * DAY)].mean())

    def strength(self, first_day, end_day):
        """How many times the threshold, as it was without verdicts, the score of the time is at the median."""
        times = slice(round(first_day * DAY), round(end_day * DAY))
        return float(np.nanmedian(self.out.raw[times])) / self.replay.watch.threshold

    def recorded(self, first_day, end_day):
        """Anomalies that fired in that time, or before it and not over yet."""
        first_ms, end_ms = (self.server.time_ms[0] + round(day * DAY) * 30_000 for day in (first_day, end_day))
        return [
            one
            for one in self.replay.occurrences
            if one.alertname == "Anomaly" and one.fired_ms < end_ms and (one.resolved_ms or 2**60) > first_ms
        ]


def mistaken(time_ms, number):
    """The effect of a `false` on an alert of its own, a day before."""
    began_ms = time_ms - 86_400_000 + number * 7_200_000
    alert = Occurrence(
        id=f"a{number}", fingerprint="f", alertname="Anomaly", network="anomaly", resource="",
        severity=Severity.RECORD, state=State.RESOLVED, started_ms=began_ms, fired_ms=began_ms + 60_000,
        resolved_ms=began_ms + 600_000, score=0.9, threshold=0.8, detail="", sentence="", contributors=(),
    )  # fmt: skip
    return effect_of(Verdict(f"v{number}", alert.id, VerdictKind.FALSE, "ann", "", began_ms + 700_000), alert)


def weak_here(strength, least):
    """Skip what is asked of a fault on a server on whose scores it is hardly seen at all; see docs/verdicts.md."""
    if strength <= least:
        pytest.skip(f"the fault is {strength:.2f} times the threshold of this server, and {least} is asked for")


@pytest.mark.parametrize("seed", SEEDS)
async def test_after_ten_mistaken_false_verdicts_a_fault_at_full_strength_is_recorded(tmp_path, seed):
    server = Server(seed, DAYS + 1, reboot_day=99, decaying=(DAYS + 0.1, 0.02))
    one = Life(server, tmp_path)
    one.replay.effects = [mistaken(int(server.time_ms[DAYS * DAY]), number) for number in range(10)]
    assert factor(one.replay.effects, int(server.time_ms[-1])) == ALL_STEPS
    await one.run()
    share, strength = one.alarmed(DAYS + 0.15, DAYS + 1), one.strength(DAYS + 0.15, DAYS + 1)
    print(f"seed {seed}: {strength:.2f} times the threshold, {share:.0%} of the fault's samples alarmed")
    weak_here(strength, ALL_STEPS)
    assert one.recorded(DAYS + 0.1, DAYS + 0.2)
    assert share > 0.5
    assert one.out.threshold[-1] <= ALL_STEPS * one.replay.watch.threshold + 1e-9


@pytest.mark.parametrize("seed", SEEDS)
async def test_what_is_expected_comes_again_unheard_and_another_fault_is_recorded(tmp_path, seed):
    """Somebody calls the first crash expected, and nothing else; the other fault begins an hour after the last one."""
    crashes, fault = DAYS + 0.3, DAYS + 0.6
    server = Server(seed, DAYS + 1, reboot_day=99, flapping=(crashes, 0.25), decaying=(fault, 0.02))
    judged = []

    def says(alert):
        if alert.fired_ms < server.time_ms[round(crashes * DAY)] or judged:
            return None
        judged.append(alert)
        return VerdictKind.EXPECTED

    one = Life(server, tmp_path)
    one.replay.says = says
    await one.run()
    heard, share = one.recorded(crashes, crashes + 0.25), one.alarmed(fault + 0.05, fault + 0.4)
    crashed = int((np.diff(server.cut.astype(int)) == 1).sum())
    print(f"seed {seed}: {len(heard)} of {crashed} crashes recorded; {share:.0%} of the fault's samples alarmed")
    assert crashed >= 8
    assert len(heard) <= 2
    weak_here(one.strength(fault + 0.05, fault + 0.4), 1.0)
    assert one.recorded(fault, fault + 0.1)
    assert share > 0.5
