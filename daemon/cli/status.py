"""`presage status`: what the running daemon knows, on one screen of 80 columns.

Enters: the daemon's answer. Leaves: labelled rows or JSON. It computes nothing but ages.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from daemon.cli.client import fetch_status
from daemon.cli.owner import owner_kept
from daemon.cli.terminal import is_ascii, print_json, print_rows, printable
from daemon.cli.watching import WatchOption, shown
from daemon.config import load
from daemon.web.api import AlertAnswer, AnomalyAnswer, CapacityAnswer, RiskInBrief, SinkAnswer, StatusAnswer

Row = tuple[str, Text]

CONFIG_HELP = "Configuration file (default: $PRESAGED_CONFIG, else /etc/presaged/config.toml)."

_BAR = 24
_LABEL = 10
SEVERITIES = {"critical": "bold red", "warning": "yellow"}
_STALE_INTERVALS = 3
_LEAST_CHANCE, _SURE = 0.01, 0.99
_ENDANGERED = 2  # resources that are named
_STEPS = ((172_800.0, 86_400.0, "d"), (7200.0, 3600.0, "h"), (120.0, 60.0, "min"))


def show_status(
    config: Annotated[Path | None, typer.Option(metavar="FILE", help=CONFIG_HELP)] = None,
    data: Annotated[bool, typer.Option("--data", help="How good the stored history is.")] = False,
    watch: WatchOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as JSON.")] = False,
) -> None:
    """Show what the running daemon knows."""
    if data and watch:
        raise typer.BadParameter("what is stored is looked at once: give --data without it", param_hint="'--watch'")
    if data:
        from daemon.cli.data import show_data  # noqa: PLC0415 - it loads NumPy

        loaded = load(config)
        with owner_kept(loaded):
            show_data(loaded, as_json)
        return
    loaded = load(config)

    def show(out: Console) -> None:
        status, body = fetch_status(loaded)
        if as_json:
            print_json(out, json.loads(body))
        else:
            print_rows(out, rows(status, datetime.now(UTC), plain=not out.is_terminal or is_ascii(out)), _LABEL)

    shown(show, watch=watch)


def rows(status: StatusAnswer, now: datetime, *, plain: bool) -> Iterator[Row]:
    """Yield every row for the status as of `now`; `plain` draws with ASCII only."""
    host = status.host
    size = f"{host.cpus:g} CPUs, {host.memory_bytes / 2**30:.1f} GiB"
    kind = host.kind if host.virtualization in {"none", host.kind} else f"{host.kind} ({host.virtualization})"
    yield "host", Text(printable(f"{host.name}: {kind}, {size}"))
    up = span(_seconds(status.started_at, now))
    yield "presaged", Text(f"{status.version}, since {when(status.started_at)} ({up}), {status.backend}")
    yield "samples", _samples(status, now)
    if status.anomaly is not None:
        yield from _anomaly(status.anomaly, plain=plain)
    yield from _capacity(status.capacity)
    if status.risk is not None:
        yield "risk", _risk(status.risk)
    yield from _alerts(status.alerts)
    for number, said in enumerate(status.verdicts):
        yield "" if number else "verdicts", Text(printable(said), "cyan")
    yield from _collectors(status)
    for number, (mode, why) in enumerate(status.degraded.items()):
        yield "" if number else "short of", Text(printable(f"{mode}: {why}"), "bold red")
    for sink in status.sinks:
        yield "sink", Text(f"{sink.name}: {counts(sink)}", "yellow" if sink.dead or sink.dropped else "")
    if not status.sinks:
        yield "sink", Text("none: alerts are kept and shown, not sent", "dim")
    if status.job is not None:
        share = f"{status.job.share:.0%}, {status.job.text}"
        yield "job", Text(printable(f"{status.job.name}: {share}"))
    files = ", ".join(status.config_files) or "defaults"
    yield "files", Text(printable(f"{files}; state in {status.state_directory}"), "dim")


def _samples(status: StatusAnswer, now: datetime) -> Text:
    text = Text(f"{status.samples:,}, one in {status.interval_seconds:g} s, {status.signals} signals")
    if status.signals_missing:
        text.append(f" ({status.signals_missing} missing)")
    if status.last_sample_at is None:
        return text.append("; none yet")
    seconds = _seconds(status.last_sample_at, now)
    stale = seconds > _STALE_INTERVALS * status.interval_seconds + 1
    return text.append("; last ").append(f"{span(seconds)} ago", "bold red" if stale else "")


def _anomaly(anomaly: AnomalyAnswer, *, plain: bool) -> Iterator[Row]:
    if anomaly.score is None:
        yield "score", Text("none yet", "dim")
    else:
        over = anomaly.score >= anomaly.score_threshold
        verdict = f" {anomaly.score:.2f} of {anomaly.score_threshold:.2f}"
        yield "score", _bar(anomaly.score, anomaly.score_threshold, plain=plain).append(verdict, "red" if over else "")
    if anomaly.learning:
        yield "lacking", Text(printable(anomaly.learning), "cyan")
    if anomaly.contributions:
        shares = ", ".join(f"{part.signal} {part.share:.0%}" for part in anomaly.contributions)
        yield "due to", Text(printable(shares))
    if anomaly.model:
        trained = f", trained {when(anomaly.trained_at)}" if anomaly.trained_at else ""
        yield "model", Text(printable(f"{anomaly.model}{trained}; {anomaly.episodes} episodes recorded"))


def _bar(score: float, threshold: float, *, plain: bool) -> Text:
    """The score from 0 to 1 as a bar, with a mark where the threshold stands."""
    full, empty, mark = ("#", ".", "|") if plain else ("━", "─", "┃")
    reached, at = round(min(max(score, 0.0), 1.0) * _BAR), round(threshold * _BAR)
    style = "red" if score >= threshold else "green"
    bar = Text()
    for cell in range(_BAR):
        if cell == at:
            bar.append(mark, "bold")
        bar.append(full if cell < reached else empty, style if cell < reached else "dim")
    return bar


def _capacity(resources: list[CapacityAnswer]) -> Iterator[Row]:
    for number, one in enumerate(resources[:_ENDANGERED]):
        said = f"{one.resource} is {one.used_ratio * 100:.0f} % used: {one.text}"
        yield "" if number else "capacity", Text(printable(said))


def _risk(risk: RiskInBrief) -> Text:
    if risk.within_1h is None or risk.within_24h is None:
        return Text(printable(f"none told: {risk.missing}"), "dim")
    said = f"{percent(risk.within_1h)} within 1 h, {percent(risk.within_24h)} within 24 h"
    return Text(printable(f"{said}: {risk.text}" if risk.text else said))


def percent(share: float) -> str:
    """Return a probability in percent; what is next to nothing or to certain is told as that."""
    if share < _LEAST_CHANCE:
        return "below 1 %"
    return "above 99 %" if share > _SURE else f"{share * 100:.0f} %"


def _alerts(alerts: list[AlertAnswer]) -> Iterator[Row]:
    for alert in alerts:
        since = alert.fired_at or alert.started_at
        resource = f" {printable(alert.resource)}" if alert.resource else ""
        head = Text(f"{alert.alertname}{resource}", SEVERITIES.get(alert.severity, "bold"))
        head.append(f" ({alert.severity}), {alert.state}{f' since {when(since)}' if since else ''}", "not bold default")
        yield "alert", head
        yield "", Text(printable(alert.sentence))
        yield "", Text(printable(f"{alert.occurrence}, {'; '.join(standing(alert))}"), "dim")
    if not alerts:
        yield "alerts", Text("none", "green")


def counts(sink: SinkAnswer) -> str:
    """Return what a sink did since the start, in words."""
    text = f"{sink.sent} sent, {sink.failed} failed, {sink.dead} given up, {sink.pending} waiting"
    return f"{text}, {sink.dropped} dropped to make room" if sink.dropped else text


def standing(alert: AlertAnswer) -> Iterator[str]:
    """Yield who was told of an alert, why nobody is told now, and who has it in hand."""
    if alert.sent_to or not alert.held:
        yield f"sent to {', '.join(alert.sent_to)}" if alert.sent_to else "not sent"
    if alert.held:
        yield f"held: {alert.held.removeprefix('not sent: ')}"
    if alert.acknowledged_by is not None:
        yield f"in the hands of {alert.acknowledged_by}"


def _collectors(status: StatusAnswer) -> Iterator[Row]:
    broken = [state for state in status.collectors if state.problem and not state.absent]
    absent = [state.name for state in status.collectors if state.absent]
    for state in broken:
        yield "collector", Text(printable(f"{state.name}: {state.problem}"), "yellow")
    fine = len(status.collectors) - len(broken) - len(absent)
    yield "collectors", Text(f"{fine} ok" + (f", {len(broken)} with a problem" if broken else ""))
    if absent:
        yield "", Text(f"not on this host: {', '.join(absent)}", "dim")


def when(rfc3339: str) -> str:
    """Return an instant in this terminal's time zone."""
    return datetime.fromisoformat(rfc3339).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def _seconds(rfc3339: str, now: datetime) -> float:
    return max(0.0, (now - datetime.fromisoformat(rfc3339)).total_seconds())


def span(seconds: float) -> str:
    """Return a length of time in one unit."""
    for least, divisor, unit in _STEPS:
        if seconds >= least:
            return f"{seconds / divisor:.1f} {unit}" if unit != "min" else f"{seconds / divisor:.0f} min"
    return f"{seconds:.0f} s"
