"""Which series of a Prometheus are this host's, and how often they were scraped.

Enters: a server that answers, and the name of this host. Leaves: the instances to ask for, and the time between two
scrapes; or one line that says what to choose.
"""

import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alerting.render import one_line
from daemon.errors import DaemonError
from daemon.imports.prometheus import LabelledSeries, Prometheus, selector
from daemon.imports.table import Table

PAGE_MS = 6 * 3600 * 1000
_FEW = 4  # scrapes that tell no interval
_TOO_COARSE, _DIFFERENT = 2.5, 1.5  # how much longer than our interval is refused; how different is told
_NAMED_TARGETS = 5
_UNAME = "node_uname_info"
_BOOT = "node_boot_time_seconds"
_MEMORY = "node_memory_MemTotal_bytes"
_OF_UNAME = frozenset({"__name__", "domainname", "machine", "nodename", "release", "sysname", "version"})
_SAME_BOOT_SECONDS = 120.0
_TOGETHER_MS = PAGE_MS // 24  # that long at least were two scraped at once


@dataclass(frozen=True, slots=True)
class Targets:
    """Whose series are taken as this host's. `target_labels` say who was scraped, not what: no series keeps them.

    `other_names` are nodenames that the instances had too in these days, and that are not this host's.
    """

    instances: tuple[str, ...]
    target_labels: frozenset[str]
    other_names: tuple[str, ...] = ()


async def find_targets(server: Prometheus, host: str, wanted: Sequence[str], first_ms: int, end_ms: int) -> Targets:
    """Return the instances `wanted`, else those whose nodename is that of `host`. Raises DaemonError."""
    found = await server.labels((_UNAME, _MEMORY), first_ms, end_ms)
    found = [labels for labels in found if labels.get("instance")]
    names: dict[str, set[str]] = {}
    for labels in found:
        names.setdefault(labels["instance"], set()).update(name for name in (labels.get("nodename"),) if name)
    if not names:
        raise DaemonError(
            f"{server.where} has no series of node_exporter in these days: it must scrape one on this host"
            f" ({_UNAME} is looked for)"
        )
    others: set[str] = set()
    if wanted:
        instances = sorted(set(wanted))
        for instance in instances:
            if instance not in names:
                raise DaemonError(f"{server.where} has no node_exporter {one_line(instance)}; {_listed(names)}")
    else:
        host = host or socket.gethostname()
        instances = sorted(one for one, known in names.items() if any(_same_host(name, host) for name in known))
        if not instances:
            raise DaemonError(
                f"{server.where} has no node_exporter whose host is {one_line(host)};"
                f" choose by --instance: {_listed(names)}"
            )
        same = {name.lower() for one in instances for name in names[one] if "." in name and _same_host(name, host)}
        if len(same) > 1:
            candidates = {one: names[one] for one in instances}
            raise DaemonError(f"several hosts could be this one; choose by --instance: {_listed(candidates)}")
        others = {name for one in instances for name in names[one] if not _same_host(name, host)}
    ours = [labels for labels in found if labels["instance"] in instances]
    target_labels = {name for labels in ours for name in labels if name not in _OF_UNAME}
    return Targets(tuple(instances), frozenset(target_labels | {"instance", "job"}), tuple(sorted(others)))


def _same_host(name: str, host: str) -> bool:
    name, host = name.lower(), host.lower()
    if "." in name and "." in host:
        return name == host
    return bool(name) and name.partition(".")[0] == host.partition(".")[0]


def _listed(names: Mapping[str, Iterable[str]]) -> str:
    shown = [
        f"{one_line(one)} ({one_line(' and '.join(sorted(names[one]))) or 'no name'})"
        for one in sorted(names)[:_NAMED_TARGETS]
    ]
    more = len(names) - len(shown)
    return f"there is {', '.join(shown)}{f' and {more} more' if more else ''}"


def doubt(targets: Targets) -> str | None:
    """Return a warning where an instance bore another name before: it may be that another host had its address."""
    if not targets.other_names:
        return None
    return (
        f"{one_line(', '.join(targets.instances))} was called {one_line(', '.join(targets.other_names))} too in these"
        " days; if that was another host, ask for fewer days"
    )


async def find_interval(server: Prometheus, targets: Targets, first_ms: int, end_ms: int) -> float:
    """Return the seconds between two scrapes, from the newest page that has some.

    Raises DaemonError where there is none, and where two hosts bear the same name.
    """
    ask = selector((_BOOT, _MEMORY), targets.instances)
    for page_ms in range((end_ms - 1) // PAGE_MS * PAGE_MS, first_ms - PAGE_MS, -PAGE_MS):
        found = await server.samples(ask, max(page_ms, first_ms), min(page_ms + PAGE_MS, end_ms), divisible=False)
        _refuse_two_hosts(found)
        distances = [np.diff(one.series.time_ms) for one in found if len(one.series.time_ms) > _FEW]
        if distances:
            return max(1.0, float(np.median(np.concatenate(distances))) / 1000)
    raise DaemonError(
        f"{server.where} has no samples of {', '.join(map(one_line, targets.instances))} in these days that could be "
        f"used ({_BOOT} and {_MEMORY} are looked for)"
    )


def _refuse_two_hosts(found: Iterable[LabelledSeries]) -> None:
    """Raise DaemonError where instances were scraped at the same time and were booted at different times."""
    boots = [one for one in found if one.labels["__name__"] == _BOOT]
    for one in boots:
        for other in boots:
            first = max(one.series.time_ms[0], other.series.time_ms[0])
            last = min(one.series.time_ms[-1], other.series.time_ms[-1])
            together = last - first > _TOGETHER_MS
            apart = abs(float(np.median(one.series.values)) - float(np.median(other.series.values)))
            if together and apart > _SAME_BOOT_SECONDS:
                raise DaemonError(
                    f"{one_line(one.labels['instance'])} and {one_line(other.labels['instance'])} bear the name of this"
                    " host and are two hosts (booted at different times): choose by --instance"
                )


def judge_interval(scrape_seconds: float, interval_seconds: float, where: str) -> str | None:
    """Return a warning where the two intervals differ, None where they are alike. Raises DaemonError for too coarse."""
    text = f"{where} has a sample every {scrape_seconds:.3g} s, presaged takes one every {interval_seconds:g} s"
    if scrape_seconds > _TOO_COARSE * interval_seconds:
        raise DaemonError(
            f"{text}: the two cannot be compared; set [sampling] interval_seconds = {round(scrape_seconds)} first"
        )
    if max(scrape_seconds / interval_seconds, interval_seconds / scrape_seconds) > _DIFFERENT:
        return f"{text}: what is learned from it is less exact"
    return None


def pause_seconds(table: Table, otherwise: float) -> float:
    """Return the seconds between two rows, in the middle; `otherwise` where there are too few."""
    if len(table.time_ms) <= _FEW:
        return otherwise
    return float(np.median(np.diff(table.time_ms))) / 1000
