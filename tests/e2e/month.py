"""A state folder with thirty days behind it: samples with scores, rollups, alerts with verdicts, changes, failures.

Written straight into the databases, for the tests that look at a whole month. Some names are hostile on purpose: what a
page shows comes from mounts, units and logs that anybody may have named.
"""

import time
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import numpy as np

from alerting.occurrence import Occurrence, State, fingerprint_of
from alerting.outbox import OutboxItem
from alerting.policy import Kept, Severity
from alerting.ulid import UlidSource
from alerting.verdict import Verdict, VerdictKind
from daemon.clock import Instant
from daemon.collectors import CollectorContext, build_collectors
from daemon.collectors.base import HostPaths
from daemon.failures.record import FailureEvent, Source
from daemon.history import History
from daemon.samples import FLAG_ALARMED, StoredSample, statistics
from daemon.state import StateDatabase
from detectors.findings import (
    Change,
    ChangeKind,
    Contributor,
    Culprit,
    Direction,
    FailureKind,
    Precedent,
    Resource,
    Unit,
)

HOSTILE = '<img src=x onerror="alert(1)">'
DAY_MS = 86_400_000
THRESHOLD = 1.4
_HURT = 47  # minutes that an incident lasts


def write_month(folder, *, days=30, step_seconds=30, now_ms=None, seed=1, firing=False):
    """Fill `folder` so that a daemon of that interval goes on from there; return the alerts, the oldest first.

    `firing`: one more alert is open, and stays so for half an hour after the daemon's start.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    now_ms = now_ms or int(time.time() * 1000)
    rng = np.random.default_rng(seed)
    first_ms = now_ms - days * DAY_MS
    starts = [first_ms + round(share * days * DAY_MS) for share in (0.1, 0.34, 0.55, 0.78, 0.985)]
    with closing(StateDatabase(folder / "state.db")) as state, closing(History(folder / "history.db")) as history:
        history.bind_interval(float(step_seconds))
        specs, level = _signals()
        numbers = state.assign_signals(specs, now_ms)
        order = sorted(range(len(specs)), key=lambda place: numbers[specs[place].name])
        ids = np.array([numbers[specs[place].name] for place in order], np.int64)
        specs, level = [specs[place] for place in order], level[order]
        times = np.arange(first_ms, now_ms, step_seconds * 1000)
        _write_samples(history, ids, lambda some: _values(specs, level, rng, some), times, _scores(rng, times, starts))
        alerts = _alerts(starts)
        if firing:
            alerts.append(_open_alert(now_ms - 600_000))
        _write_record(state, alerts, now_ms)
    return alerts


def _signals():
    """Return the signals that this host has, and what each of them is now."""
    collectors = build_collectors(
        CollectorContext(paths=HostPaths(), gap_seconds=60.0, disabled=frozenset({"latency", "unit", "changes"}))
    )
    found = {}
    for turn in (1, 2):
        for one in collectors:
            try:
                found |= {spec: value for spec, value in one.collect(turn * 10**9) if value is not None}
            except Exception:  # noqa: BLE001 - what this host does not have
                continue
    for one in collectors:
        one.close()
    values = np.nan_to_num(np.array(list(found.values()), np.float64), nan=0.1)
    return list(found), np.abs(values)


def _values(specs, level, rng, times):
    """Return (T, S): a daily rhythm and some noise; file systems stay as they are, or they would be full tomorrow."""
    day = 1 + 0.25 * np.sin(2 * np.pi * (times % DAY_MS) / DAY_MS)[:, None]
    values = level * day * (1 + 0.05 * rng.normal(size=(len(times), len(level))))
    still = [place for place, spec in enumerate(specs) if spec.family == "filesystem"]
    values[:, still] = level[still]
    return values.astype(np.float32)


def _scores(rng, times, starts):
    score = 0.55 * np.exp(0.16 * rng.normal(size=len(times)))
    flags = np.zeros(len(times), np.int64)
    for start in starts:
        hit = (times >= start) & (times < start + _HURT * 60_000)
        score[hit] = 1.5 + 0.6 * np.abs(np.sin(np.arange(hit.sum()) / 9))
        flags[hit] = FLAG_ALARMED
    return score, flags


def _write_samples(history, ids, values_at, times, scored):
    score, flags = scored
    for at in range(0, len(times), 5_000):
        rows = range(at, min(at + 5_000, len(times)))
        values = values_at(times[at : at + 5_000])
        history.add(
            [
                StoredSample(
                    seq=row,
                    instant=Instant(int(times[row]), int(times[row] - times[0]) * 10**6, 0, "month"),
                    hour=int(times[row] // 3_600_000 % 168),
                    flags=int(flags[row]),
                    model=1,
                    raw_score=float(score[row]),
                    raw_threshold=THRESHOLD,
                    signal_ids=ids,
                    values=values[row - at],
                )
                for row in rows
            ]
        )
        _roll(history, ids, values, times[at : at + 5_000], at)


def _roll(history, ids, values, times, first_seq):
    key = ids.astype("<i8").tobytes()
    schema = history._schemas[key]
    for tier in (300, 3600):
        buckets = times // (tier * 1000)
        edges = np.r_[0, np.flatnonzero(np.diff(buckets)) + 1, len(times)]
        history.write(
            (
                "INSERT OR REPLACE INTO rollups VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (
                        tier,
                        first_seq + end - 1,
                        int(buckets[begin]) * tier * 1000,
                        schema,
                        end - begin,
                        statistics(values[begin:end]).tobytes(),
                    )
                    for begin, end in pairwise(edges.tolist())
                ],
            )
        )


def _alerts(starts):
    new_id = UlidSource()
    out = []
    for place, start in enumerate(starts):
        what = (
            ("AnomalyWithImpact", "anomaly", "", Severity.TICKET),
            ("Anomaly", "anomaly", "", Severity.RECORD),
            ("ResourceExhaustionExpected", "capacity", f"/srv/{HOSTILE}", Severity.TICKET),
            ("UnitFailed", "host", "backup-of-everything-that-we-have@eu-central-1.service", Severity.PAGE),
            ("Anomaly", "anomaly", "", Severity.RECORD),
        )[place]
        name, network, resource, severity = what
        sent = severity is not Severity.RECORD
        sentence = (
            f"{resource} is full within 3 days"
            if network == "capacity"
            else f"{resource} has failed"
            if network == "host"
            else "cpu.busy 97 %, usually 8 to 31 % at this hour: mysqld.service takes 84 % of CPU time"
        )
        out.append(
            Occurrence(
                id=new_id(start),
                fingerprint=fingerprint_of(name, network, resource),
                alertname=name,
                network=network,
                resource=resource,
                severity=severity,
                state=State.RESOLVED,
                started_ms=start,
                fired_ms=start + 120_000,
                resolved_ms=start + _HURT * 60_000,
                score=0.91,
                threshold=0.8,
                detail=sentence,
                sentence=sentence,
                contributors=_contributors() if network == "anomaly" else (),
                told=("operators",) if sent else (),
                culprits=(
                    Culprit("mysqld.service", f"mysqld{HOSTILE}", Resource.CPU, 0.84, 0.11, 7.6),
                    Culprit("nginx.service", "", Resource.CPU_WAIT, 0.4, 0.02, 20.0),
                )
                if network == "anomaly"
                else (),
                change=Change(start - 300_000, ChangeKind.PACKAGE, f"dpkg upgraded mysql-server {HOSTILE}"),
                precedent=Precedent(out[0].id, out[0].started_ms, _HURT * 60.0, 0.93) if out else None,
                kept=Kept.NOT if sent else Kept.RECORD,
                ended=("operators",) if sent else (),
                group="host" if sent else "",
                first_told_ms=start + 120_000 if sent else None,
                last_told_ms=start + 120_000 if sent else None,
                told_severity=severity if sent else None,
            )
        )
    return out


def _open_alert(start):
    name, unit = "RepeatedOOMKills", f"shop{HOSTILE}.service"
    return replace(
        _alerts([start])[0],
        fingerprint=fingerprint_of(name, "host", unit),
        alertname=name,
        network="host",
        resource=unit,
        severity=Severity.PAGE,
        state=State.FIRING,
        resolved_ms=None,
        sentence=f"{unit}: 4 processes ended for want of memory within 10 min",
        ended=(),
    )


def _contributors():
    return (
        Contributor("cpu.busy", Unit.RATIO, "cpu", "", 0.97, 0.08, 0.31, 9.1, Direction.ABOVE, 0.9, 0.98),
        Contributor("pressure.cpu.some", Unit.RATIO, "pressure", "", 0.6, 0.0, 0.02, 7.2, Direction.RISING, 0.3, 0.6),
        Contributor(
            f"disk.{HOSTILE}.write_bytes_per_second",
            Unit.BYTES_PER_SECOND,
            "disk",
            HOSTILE,
            41e6,
            1e5,
            2e6,
            5.0,
            Direction.CHANGEABLE,
            1e6,
            41e6,
        ),
    )


def _write_record(state, alerts, now_ms):
    new_id = UlidSource()
    items = [
        OutboxItem(new_id(one.fired_ms), "operators", one.id, "{}", one.fired_ms, is_page=False)
        for one in alerts
        if one.told
    ]
    state.record_transitions(alerts, items)
    for item in items:
        state._write(lambda db, item=item: db.execute("UPDATE outbox SET state = 'delivered' WHERE id = ?", (item.id,)))
    for one, kind in zip(alerts[:3], (VerdictKind.REAL, VerdictKind.EXPECTED, VerdictKind.REAL), strict=True):
        state.record_verdict(
            Verdict(new_id(one.resolved_ms), one.id, kind, "ana", f"seen {HOSTILE}", one.resolved_ms + 60_000)
        )
    state.record_changes([one.change for one in alerts])
    state.record_failures(
        [
            FailureEvent(
                1,
                FailureKind.UNIT_FAILED,
                Source.SYSTEMD,
                one.started_ms,
                one.started_ms,
                now_ms,
                3,
                one.resource,
                "exit",
            )
            for one in alerts
            if one.network == "host"
        ],
        {},
    )
