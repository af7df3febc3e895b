"""Drift verdicts beside plain Kolmogorov-Smirnov and alibi-detect's KSDrift; the kernels beside SciPy.

False alarms at a nominal 5 % where nothing changes, on AR(1) and with a daily rhythm on top; what is found of three
changes, beside a KS whose threshold was set on the same process; D, p and the time of 256 signals. A day is 2,880
samples of 30 s, the reference is as long or 7 days. With `--data`, real servers' days: which share of signals is
said to have drifted from the week before.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from benchmarks.networks import alternate
from benchmarks.report import Row, smaller_is_better, write
from detectors import kernels
from detectors.drift import Verdict, compare, make_reference
from detectors.kernels import Backend, KsWindow
from detectors.kolmogorov import probability

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

DAY, HOUR = 2880, 120
RHOS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99)
SIGNALS = 256
_NOMINAL = 0.05
_AT_ONCE = 250  # series: the memory it takes
_WIDTH = 0.75  # of the log-normal distribution
_DATA = (("smd", 1440), ("asd", 288))  # samples of a day


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--backend", choices=("auto", "compiled", "jit", "numpy"), default="auto")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "presaged-bench-kernels")
    parser.add_argument("--alibi", type=Path, default=Path(".venv/alibi/bin/python"), help="its environment's Python")
    parser.add_argument("--data", type=Path, help="folder with the real series, anomaly/smd and anomaly/asd below it")
    arguments = parser.parse_args()
    backend, reasons = kernels.load(arguments.backend, arguments.cache)
    print(f"back end {backend.name}", *reasons, sep="\n  ", file=sys.stderr)
    rows: list[Row] = []
    with _Alibi(arguments.alibi) as alibi:
        for days in (1, 7):
            for rhythm, name in ((0.0, ""), (1.0, " and a daily rhythm")):
                for rho in RHOS:
                    series = _ar1(rho, days, arguments.runs, rhythm)
                    rows += _false_alarms(backend, f"ar1 {rho:g}{name}", series, days, alibi)
        for days in (1, 7):
            rows += _power(backend, days, arguments.runs)
    for rho in RHOS[:4]:
        rows += _answers(backend, rho, arguments.runs)
    rows += _kernels(backend)
    if arguments.data:
        for name, day in _DATA:
            rows.append(_real(backend, arguments.data / "anomaly" / name, day))
    write("drift", rows, ("numpy", "scipy"), as_json=arguments.json)


class _Alibi:
    """KSDrift in its own process; where there is no such environment it says nothing."""

    def __init__(self, python: Path) -> None:
        self._python = python
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="presaged-drift-")

    def __enter__(self) -> Self:
        if not self._python.exists():
            print(f"no {self._python}: without alibi-detect", file=sys.stderr)
            return self
        command = [str(self._python), "-P", str(Path(__file__).with_name("drift_peers.py"))]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        print(f"alibi-detect {self._answer()}", file=sys.stderr)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        self._folder.cleanup()

    def _answer(self) -> str:
        assert self._process is not None and self._process.stdout is not None  # noqa: S101, PT018 - for the checker
        answer = self._process.stdout.readline().strip()
        if not answer:
            raise SystemExit("alibi-detect ended without an answer")
        return answer

    def drifted(self, reference: Float32, last: Float32) -> int | None:
        """Return how many series of two equally long samples (T, S) drifted."""
        if self._process is None or self._process.stdin is None:
            return None
        file = Path(self._folder.name) / "series.npy"
        np.save(file, np.stack([reference, last]))
        self._process.stdin.write(f"{file}\n")
        self._process.stdin.flush()
        return int(self._answer())


def _ar1(rho: float, days: int, runs: int, rhythm: float, day: int = DAY) -> Iterator[Float32]:
    """Yield AR(1) of variance 1, `days` of reference and one more: (T, S) each, `runs` series in all."""
    rng = np.random.default_rng([int(100 * rho), days])
    samples = (days + 1) * day
    for first in range(0, runs, _AT_ONCE):
        series = min(_AT_ONCE, runs - first)
        out = rng.normal(size=(samples, series))
        out[1:] *= np.sqrt(1 - rho**2)
        for row in range(1, samples):
            out[row] += rho * out[row - 1]
        phase = rng.uniform(0, 2 * np.pi, series)
        wave = rhythm * np.sin(2 * np.pi * np.arange(samples)[:, None] / day + phase)
        yield (out + wave).astype(np.float32)


def _verdict(backend: Backend, series: Float32, day: int) -> Verdict:
    """Return the verdict on the last day of (T, S)."""
    hours = np.arange(len(series)) * 24 // day % 24
    reference = make_reference(series[:-day], hours[:-day], day)
    return compare(backend, reference, np.ascontiguousarray(series[-day:]), hours[-day:], day / 24)


def _alarms(verdict: Verdict) -> int:
    """Return how many series, each by itself, drifted at the nominal level; one that is not judged raises none."""
    return int((verdict.probability[verdict.judged] < _NOMINAL).sum())


def _plain(backend: Backend, series: Float32, day: int) -> Float64:
    """Return what KS says that takes every sample for independent: p (S,)."""
    first, last = (np.ascontiguousarray(part.T) for part in (series[:-day], series[-day:]))
    distance = backend.ks(backend.sorted(first), last)
    size = np.full(len(distance), first.shape[1] * day / (first.shape[1] + day))
    return probability(distance, size, np.full(len(distance), np.inf))


def _false_alarms(backend: Backend, case: str, chunks: Iterator[Float32], days: int, alibi: _Alibi) -> Iterator[Row]:
    ours = plain = few = runs = 0
    theirs: int | None = 0
    for series in chunks:
        verdict = _verdict(backend, series, DAY)
        runs, few = runs + series.shape[1], few + int((~verdict.judged).sum())
        ours += _alarms(verdict)
        plain += int((_plain(backend, series, DAY) < _NOMINAL).sum())
        # alibi-detect takes samples of any size; the day before is what is cheapest for it
        told = alibi.drifted(series[-2 * DAY : -DAY], series[-DAY:])
        theirs = None if told is None or theirs is None else theirs + told
    metric = f"false alarms, {days} d"
    percent = 100 / runs
    print(f"{case}, {days} d: {ours * percent:.1f} %, not judged {few * percent:.1f} %", file=sys.stderr)
    for peer, count in (("plain KS", plain), ("alibi-detect KSDrift", theirs)):
        if count is not None:
            ratio = count / ours if ours else None
            yield Row(case, metric, "%", ours * percent, peer, count * percent, ratio)
    yield Row(case, f"not judged, {days} d", "%", few * percent)


def _answers(backend: Backend, rho: float, runs: int) -> Iterator[Row]:
    """Yield the same of what networks answer: every five minutes and every hour, against 7 days."""
    for what, day in (("every 5 min", 288), ("every hour", 24)):
        judged, alarms, found = 0, 0, 0
        for series in _ar1(rho, 7, runs, 0.0, day):
            verdict = _verdict(backend, series, day)
            judged, alarms = judged + int(verdict.judged.sum()), alarms + _alarms(verdict)
            series[-day:] += 1
            found += _alarms(_verdict(backend, series, day))
        case = f"answers {what}, ar1 {rho:g}"
        yield Row(case, "false alarms", "%", 100 * alarms / runs)
        yield Row(case, "mean + 1 sd found", "%", 100 * found / runs)
        yield Row(case, "judged", "%", 100 * judged / runs)


def _log_normal(last: Float32) -> Float32:
    spread = np.exp(_WIDTH**2)
    return ((np.exp(_WIDTH * last) - np.sqrt(spread)) / np.sqrt((spread - 1) * spread)).astype(np.float32)


CHANGES: dict[str, Callable[[Float32], Float32]] = {
    "mean + 1 sd": lambda last: last + np.float32(1),
    "sd x 2": lambda last: last * np.float32(2),
    "log-normal": _log_normal,
    "variance x 2": lambda last: last * np.float32(np.sqrt(2)),
}


def _power(backend: Backend, days: int, runs: int) -> Iterator[Row]:
    """Yield what is found at rho = 0.9, beside a KS that cries wolf in 5 % of the unchanged series."""
    found, distances = dict.fromkeys(CHANGES, 0), {name: list[Float64]() for name in ("", *CHANGES)}
    for series in _ar1(0.9, days, runs, 0.0):
        reference = backend.sorted(np.ascontiguousarray(series[:-DAY].T))
        distances[""].append(backend.ks(reference, np.ascontiguousarray(series[-DAY:].T)))
        for name, change in CHANGES.items():
            changed = np.concatenate([series[:-DAY], change(series[-DAY:])])
            found[name] += _alarms(_verdict(backend, changed, DAY))
            distances[name].append(backend.ks(reference, np.ascontiguousarray(changed[-DAY:].T)))
    threshold = np.quantile(np.concatenate(distances[""]), 1 - _NOMINAL)
    for name, count in found.items():
        best = 100 * float((np.concatenate(distances[name]) > threshold).mean())
        ours = 100 * count / runs
        yield Row(f"ar1 0.9 {name}", f"found, {days} d", "%", ours, "calibrated KS", best, ours / best)


def _kernels(backend: Backend) -> Iterator[Row]:
    """Yield how exact and how fast 256 signals of a day against a day are."""
    from scipy.stats import ks_2samp  # noqa: PLC0415 - a peer

    rng = np.random.default_rng(5)
    first, last = rng.normal(size=(2, SIGNALS, DAY)).astype(np.float32)
    last *= np.linspace(1, 1.6, SIGNALS, dtype=np.float32)[:, None]
    last[::4], first[::4] = last[::4].round(1), first[::4].round(1)  # ties
    size, known = np.full(SIGNALS, DAY / 2), np.full(SIGNALS, np.inf)

    def ours() -> tuple[Float64, Float64]:
        distance = backend.ks(backend.sorted(first), last)
        return distance, probability(distance, size, known)

    def theirs() -> list[tuple[float, float]]:
        told = (ks_2samp(a, b, method="asymp") for a, b in zip(first, last, strict=True))
        return [(one.statistic, one.pvalue) for one in told]

    distance, probabilities = ours()
    wanted = np.array(theirs())
    case = f"ks {SIGNALS} signals"
    yield Row(case, "largest error of D", "", float(np.abs(distance - wanted[:, 0]).max()))
    seen = wanted[:, 1] > 1e-300
    yield Row(case, "largest relative error of p", "", float(np.abs(probabilities / wanted[:, 1] - 1)[seen].max()))
    mine, scipy = alternate([ours, theirs], repeats=1, rounds=7)
    yield smaller_is_better(case, "check", "ms", mine * 1e3, ("scipy.stats.ks_2samp", scipy * 1e3))
    window = KsWindow(backend, backend.sorted(first))
    window.add(np.ascontiguousarray(last.T))
    hour = np.ascontiguousarray(last.T[:HOUR])

    def one_sample() -> None:
        window.remove(hour[0])
        window.add(hour[0])
        window.statistic()

    def one_hour() -> None:
        window.remove(hour)
        window.add(hour)
        window.statistic()

    sample, hourly = alternate([one_sample, one_hour], repeats=5, rounds=15)
    peer = ("scipy.stats.ks_2samp", scipy * 1e3)
    yield smaller_is_better(case, "one more sample, and read", "ms", sample * 1e3, peer)
    yield smaller_is_better(case, "one of an hour's samples, read once", "ms", hourly / HOUR * 1e3, peer)


def _real(backend: Backend, folder: Path, day: int) -> Row:
    """Return which share of signals is said to drift from the 7 days before, over all days of all machines."""
    ours = plain = total = 0
    for file in sorted(folder.glob("*.npz")):
        arrays = np.load(file)
        series = np.concatenate([arrays["train"], arrays["test"]]).astype(np.float32)
        for last in range(7, len(series) // day):
            part = series[(last - 7) * day : (last + 1) * day]
            verdict = _verdict(backend, part, day)
            ours, total = ours + int(verdict.drifted.sum()), total + part.shape[1]
            plain += int((_plain(backend, part, day) < _NOMINAL).sum())
    shares = 100 * ours / total, 100 * plain / total
    return Row(f"{folder.name}, days of real servers", "signals drifted", "%", shares[0], "plain KS", shares[1],
               shares[1] / shares[0])  # fmt: skip


if __name__ == "__main__":
    main()
