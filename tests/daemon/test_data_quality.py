import json
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.backtest.result import Samples
from daemon.cli import data
from daemon.cli.data import rows, show_data
from daemon.config import Config, Loaded
from daemon.data_quality import assess, to_json
from daemon.samples import FLAG_ALARMED, FLAG_DOUBTFUL, FLAG_OWN_WORK
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

START = 1_772_344_800_000
INTERVAL = 30.0
DAY, HOUR = 2880, 120


def samples_of(values, *, time_ms=None, seq=None, boot=None, flags=None):
    values = np.asarray(values, np.float32)
    rows = len(values)
    zeros = np.zeros(rows, np.int64)
    specs = tuple(SignalSpec(f"signal.{place}", Unit.RATIO, Kind.GAUGE, "signal") for place in range(values.shape[1]))
    return Samples(
        specs,
        tuple(range(len(specs))),
        values,
        np.arange(rows, dtype=np.int64) + 1 if seq is None else np.asarray(seq),
        START + np.arange(rows, dtype=np.int64) * 30_000 if time_ms is None else np.asarray(time_ms, np.int64),
        zeros,
        zeros if boot is None else np.asarray(boot),
        zeros,
        zeros if flags is None else np.asarray(flags),
    )


def moving(rows, signals=1):
    return np.random.default_rng(0).random((rows, signals))


def printed(quality):
    return "\n".join(f"{label:<10} {text.plain}" for label, text in rows(quality))


def test_a_whole_history_is_complete():
    quality = assess(samples_of(moving(2 * DAY, 3)), INTERVAL)
    assert (quality.samples, quality.expected, quality.share, quality.filled) == (2 * DAY, 2 * DAY, 1.0, 1.0)
    assert (quality.gaps, quality.constant, quality.flat, quality.missing) == (0, (), (), ())
    text = printed(quality)
    assert "5,760 of 5,760 samples, one in 30 s: 100%, 100% of values" in text
    assert "3, all of them there and moving" in text


def test_history_of_another_interval_is_told():
    assert "interval" not in printed(assess(samples_of(moving(100)), 40.0))
    for other in (60.0, 10.0):
        said = f"30 s lie between two samples as a rule, not {other:g} s: is this the right configuration?"
        assert said in printed(assess(samples_of(moving(100)), other))


def test_gaps_are_counted_and_the_longest_are_named():
    time_ms = START + np.arange(400, dtype=np.int64) * 30_000
    boot = np.zeros(400, np.int64)
    for place in range(12):
        time_ms[20 + 20 * place :] += (place + 1) * 600_000
    boot[260 - 20 :] = 1  # after the longest
    quality = assess(samples_of(moving(400), time_ms=time_ms, boot=boot), INTERVAL)
    assert (quality.gaps, len(quality.longest), quality.boots) == (12, 10, 2)
    assert quality.gap_seconds == sum(range(1, 13)) * 600 + 12 * 30
    lengths = [gap.to_ms - gap.from_ms for gap in quality.longest]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == 12 * 600_000 + 30_000
    assert [gap.booted for gap in quality.longest] == [True] + [False] * 9
    assert quality.expected == 400 + sum(range(1, 13)) * 20
    assert quality.share == pytest.approx(400 / 1960)
    assert "12, 13 h in all; the longest 10" in printed(quality)
    assert "2 h, then a boot" in printed(quality)


def test_a_late_sample_is_no_gap():
    time_ms = START + np.arange(10, dtype=np.int64) * 30_000
    time_ms[5:] += 45_000
    assert assess(samples_of(moving(10), time_ms=time_ms), INTERVAL).gaps == 0
    time_ms[5:] += 1
    assert assess(samples_of(moving(10), time_ms=time_ms), INTERVAL).gaps == 1


def test_what_never_moves_is_constant_and_what_ceased_to_is_flat():
    values = moving(5 * DAY, 5)
    values[:, 1] = 0.25
    values[3 * DAY :, 2] = 0.5  # two days
    values[5 * DAY - 23 * HOUR :, 3] = 0.5  # less than a day
    values[::2, 4] = np.nan
    values[:, 4] = np.where(np.isnan(values[:, 4]), np.nan, 0.75)
    quality = assess(samples_of(values), INTERVAL)
    assert [(one.signal, one.value) for one in quality.constant] == [("signal.1", 0.25), ("signal.4", 0.75)]
    (flat,) = quality.flat
    assert (flat.signal, flat.value, flat.since_ms) == ("signal.2", 0.5, START + 3 * DAY * 30_000)
    assert flat.hours == pytest.approx(48 - 1 / 120)
    assert "signal.2 (50 % for 48 h)" in printed(quality)
    assert "signal.1 (25 %), signal.4 (75 %)" in printed(quality)


def test_what_seldom_moves_is_not_flat_yet():
    values = np.zeros((10 * DAY, 1))
    values[2 * DAY :] = 1.0
    values[6 * DAY :] = 2.0  # four days each; now it stands for four
    assert assess(samples_of(values), INTERVAL).flat == ()


def test_what_most_samples_lack_is_missing():
    values = moving(1000, 4)
    values[:501, 0] = np.nan
    values[:500, 1] = np.nan
    values[400:, 2] = np.nan
    values[:, 3] = np.nan
    quality = assess(samples_of(values), INTERVAL)
    found = [(one.signal, round(one.share, 3), one.last_ms) for one in quality.missing]
    assert found == [
        ("signal.0", 0.501, START + 999 * 30_000),
        ("signal.2", 0.6, START + 399 * 30_000),
        ("signal.3", 1.0, None),
    ]
    assert quality.filled == pytest.approx(1 - (501 + 500 + 600 + 1000) / 4000)
    assert "missing    3 signals lacking in most samples\n" in printed(quality)


def test_imported_samples_flags_and_doubtful_hours():
    flags = np.zeros(1000, np.int64)
    flags[10:250] = FLAG_DOUBTFUL  # 06:05 to 08:05
    flags[500:600] |= FLAG_ALARMED
    flags[900:950] |= FLAG_OWN_WORK
    seq = np.arange(1000) - 400
    quality = assess(samples_of(moving(1000), seq=seq, flags=flags), INTERVAL)
    assert (quality.imported, quality.own) == (400, 600)
    assert quality.own_from_ms == START + 400 * 30_000
    assert quality.doubtful_hours == 3
    assert (quality.alarmed_share, quality.own_work_share) == (0.1, 0.05)
    text = printed(quality)
    assert "400 samples from elsewhere, 600 of our own" in text
    assert "3 h after jumps of the clock" in text


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (1, 0), (1, 2), (2, 1)])
def test_next_to_nothing_is_assessed_without_a_stumble(shape):
    quality = assess(samples_of(np.zeros(shape)), INTERVAL)
    assert quality.samples == shape[0]
    assert printed(quality)
    json.dumps(to_json(quality), allow_nan=False)


@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(0, 300), signals=st.integers(0, 4))
def test_any_history_is_assessed_and_told(seed, rows, signals):
    rng = np.random.default_rng(seed)
    values = rng.choice([0.0, 1.0, np.nan, 2.0], (rows, signals))
    time_ms = START + np.cumsum(rng.choice([-600_000, 0, 30_000, 30_000, 30_000, 9_000_000], rows))
    quality = assess(samples_of(values, time_ms=time_ms, flags=rng.integers(0, 16, rows)), INTERVAL)
    assert 0.0 <= quality.share <= 1.0
    assert 0.0 <= quality.filled <= 1.0
    assert quality.expected >= quality.samples
    assert printed(quality)
    json.dumps(to_json(quality), allow_nan=False)


def test_json_has_lasting_keys_and_utc():
    document = to_json(assess(samples_of(moving(10)), INTERVAL))
    assert list(document) == [
        "version", "interval_seconds", "typical_seconds", "from", "to", "own_from", "samples", "expected", "share",
        "values_share", "own", "imported", "boots", "signals", "gaps", "doubtful_hours", "alarmed_share",
        "own_work_share", "constant", "flat", "missing",
    ]  # fmt: skip
    assert document["from"] == "2026-03-01T06:00:00.000Z"


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_prints_what_history_holds(tmp_path, monkeypatch, capsys, as_json):
    asked = []
    monkeypatch.setattr(data, "read_samples", lambda folder: asked.append(folder) or samples_of(moving(DAY)))
    show_data(Loaded(Config(), (), tmp_path, tmp_path), as_json)
    assert asked == [tmp_path]
    out = capsys.readouterr().out
    if as_json:
        assert json.loads(out)["samples"] == DAY
    else:
        assert re.search(r"^complete +2,880 of 2,880 samples", out, re.MULTILINE)


def test_a_month_of_a_hundred_signals_takes_two_seconds():
    values = np.random.default_rng(1).random((30 * DAY, 100), np.float32)
    values[np.random.default_rng(2).random(30 * DAY) < 0.1] = np.nan
    samples = samples_of(values)
    began = time.process_time()
    assess(samples, INTERVAL)
    assert time.process_time() - began < 2.0
