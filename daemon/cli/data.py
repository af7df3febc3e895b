"""`presage status --data`: how good the stored history is, read from history.db itself.

Enters: the configuration. Leaves: labelled rows or JSON. It needs no running daemon and changes nothing.
"""

from collections.abc import Iterator

from rich.text import Text

from alerting.render import duration, rfc3339
from daemon.backtest.source import read_samples
from daemon.cli.status import when
from daemon.cli.terminal import console, print_json, print_rows, printable
from daemon.config import Loaded
from daemon.data_quality import DataQuality, assess, to_json

Row = tuple[str, Text]

_LABEL = 10
_NAMED = 12
_GOOD, _FAIR = 0.99, 0.9
_OTHER_INTERVAL = 1.5  # times


def show_data(loaded: Loaded, as_json: bool) -> None:
    """Print what there is of history. Raises StateError where it cannot be read."""
    quality = assess(read_samples(loaded.state_directory), loaded.config.sampling.interval_seconds)
    if as_json:
        print_json(console(), to_json(quality))
    else:
        print_rows(console(), rows(quality), _LABEL)


def rows(quality: DataQuality) -> Iterator[Row]:
    """Yield every row for a terminal."""
    if quality.from_ms is None or quality.to_ms is None:
        yield "history", Text("there is no sample yet", "dim")
        return
    span = duration((quality.to_ms - quality.from_ms) / 1000)
    yield "history", Text(f"{_when(quality.from_ms)} to {_when(quality.to_ms)} ({span})")
    style = "green" if quality.share >= _GOOD else "yellow" if quality.share >= _FAIR else "red"
    complete = Text(f"{quality.samples:,} of {quality.expected:,} samples, one in {quality.interval_seconds:g} s: ")
    yield "complete", complete.append(_percent(quality.share), style).append(f", {_percent(quality.filled)} of values")
    if quality.typical_seconds is not None and not _near(quality.typical_seconds, quality.interval_seconds):
        usual = f"{quality.typical_seconds:g} s lie between two samples as a rule, not {quality.interval_seconds:g} s"
        yield "interval", Text(f"{usual}: is this the right configuration?", "yellow")
    if quality.imported:
        yield "imported", Text(f"{quality.imported:,} samples from elsewhere, {quality.own:,} of our own")
    if quality.own_from_ms is not None and quality.imported:
        yield "", Text(f"our own since {_when(quality.own_from_ms)}")
    if quality.own:
        yield "boots", Text(f"{quality.boots}")
    yield from _gap_rows(quality)
    if quality.doubtful_hours:
        yield "doubtful", Text(f"{quality.doubtful_hours} h after jumps of the clock: no rhythm is learned from them")
    alarmed, own_work = _percent(quality.alarmed_share), _percent(quality.own_work_share)
    yield "left out", Text(f"{alarmed} of samples were alarmed, {own_work} taken during our own work")
    yield from _signal_rows(quality)


def _gap_rows(quality: DataQuality) -> Iterator[Row]:
    if not quality.gaps:
        yield "gaps", Text("none", "green")
        return
    shown = f"; the longest {len(quality.longest)}" if quality.gaps > len(quality.longest) else ""
    yield "gaps", Text(f"{quality.gaps}, {duration(quality.gap_seconds)} in all{shown}")
    for gap in quality.longest:
        length = duration((gap.to_ms - gap.from_ms) / 1000)
        yield "", Text(f"{_when(gap.from_ms)}: {length}{', then a boot' if gap.booted else ''}", "dim")


def _signal_rows(quality: DataQuality) -> Iterator[Row]:
    looked = [
        ("missing", [f"{one.signal} ({_percent(one.share)})" for one in quality.missing], "yellow"),
        ("flat", [f"{one.signal} ({one.said} for {duration(one.hours * 3600)})" for one in quality.flat], "yellow"),
        ("constant", [f"{one.signal} ({one.said})" for one in quality.constant], "dim"),
    ]
    about = {
        "missing": "lacking in most samples",
        "flat": "that ceased to move",
        "constant": "over the whole span, which is usual for errors and limits",
    }
    odd = sum(len(names) for _, names, _ in looked)
    yield "signals", Text(f"{quality.signals}" + ("" if odd else ", all of them there and moving"))
    for label, names, style in looked:
        if names:
            yield label, Text(f"{len(names)} {'signal' if len(names) == 1 else 'signals'} {about[label]}", style)
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            yield "", Text(printable(", ".join(names[:_NAMED]) + more))


def _when(time_ms: int) -> str:
    return when(rfc3339(time_ms))


def _near(typical: float, interval: float) -> bool:
    return interval / _OTHER_INTERVAL <= typical <= interval * _OTHER_INTERVAL


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 1.0 else "100%"
