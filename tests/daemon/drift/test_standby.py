"""A host that fails over to standby, comes back, and weeks later fails over again, end to end.

Real history, real trainings as the child does them, the real drift check and its trigger; the last days through the
real tick and alerts, by the model that is on duty then.
"""

from pathlib import Path

import numpy as np
import pytest

from daemon import worker
from daemon.backtest.replay import FixedModel, replay
from daemon.backtest.result import Samples
from daemon.config import Config, Learning
from daemon.models.triggers import Standing, Trigger, due
from detectors import learner
from detectors.registry import load

INTERVAL = 300.0
A_DAY = 288
STANDBY = np.array([-4, -4, -4, -4, -4, -4, 0, 0, 0, 0])  # most of what it does is nothing


class Life:
    """What happens to a host, and the models that it is given."""

    def __init__(self, days):
        self.days, self.check = days, days.check()
        self.incoming = days.directory / "incoming"
        self.incoming.mkdir()
        self.champion, self.learned_ms = "", None

    def train(self):
        """Let the child learn, and put what comes of it on duty; return the manifest's figures."""
        ids = self.days.registry.ids.tolist()
        spec = {
            "history": str(self.days.history.path), "incoming": str(self.incoming), "interval_seconds": INTERVAL,
            "episodes_per_week": 7.0, "most_samples": 30 * A_DAY, "champion": self.champion,
            "units": {str(number): "" for number in ids},
        }  # fmt: skip
        name = worker.train(spec, lambda _share, _text: None)["name"]
        self.champion, self.learned_ms = str(self.incoming / str(name)), self.days.clock.time_ms
        return load(Path(self.champion))[1].metrics

    def trigger(self):
        """Return what calls for a training, a day and a half after the last."""
        drift = self.days.run(self.check, self.learned_ms)
        standing = Standing(1e9, 1.5 * 86_400, 400, drift.verdict.score(), None, None, on_battery=False)
        return due(standing, Learning())[0], drift.earlier

    async def lived(self, days):
        """Return what the model on duty makes of the last days, tick by tick."""
        rows = self.days.history.last_rows(round(days * A_DAY))
        count = len(rows.seq)
        samples = Samples(
            tuple(self.days.specs), tuple(rows.signal_ids), rows.values, rows.seq, rows.time_ms,
            rows.time_ms * 1_000_000, np.ones(count, np.int64), np.asarray(rows.hours, np.int64),
            np.zeros(count, np.int64),
        )  # fmt: skip
        config = Config.model_validate({"sampling": {"interval_seconds": int(INTERVAL)}})
        model = load(Path(self.champion))[0]
        return await replay(samples, (), config, name="duty", host="h", fixed=FixedModel("duty", model))


@pytest.fixture
def life(days, monkeypatch):
    monkeypatch.setattr(learner, "_LEAST_STEPS", 60)
    monkeypatch.setattr(learner, "ROWS", 4000)
    return Life(days)


@pytest.mark.timeout(120)  # four trainings
async def test_a_standby_that_comes_back_after_weeks_is_neither_an_alarm_storm_nor_a_reason_to_train(life):
    days = life.days
    days.live(9)
    life.train()
    days.shift = STANDBY
    days.live(1.5)
    assert life.trigger() == (Trigger.DRIFT, False)  # it was never seen before
    unseen = await life.lived(1.75)
    days.live(7)
    figures = life.train()
    assert (figures["relearned"], figures["regimes_new"]) == (1, 1)
    days.shift = 0 * STANDBY
    days.live(1.5)
    assert life.trigger() == (None, True)  # this was
    days.live(14)
    figures = life.train()
    assert (figures["regimes_known"], figures["regimes_new"]) == (1, 0)
    days.shift = STANDBY
    days.live(1.5)
    assert life.trigger() == (None, True)
    lived = await life.lived(1.75)
    assert unseen.episodes[-1] >= 10  # a storm, as long as nobody knew it
    assert lived.episodes[-1] <= 1
    assert lived.notifications == ()
    figures = life.train()
    assert (figures["relearned"], figures["regimes_new"], figures["retention"]) == (0, 0, 1)  # the network is kept
