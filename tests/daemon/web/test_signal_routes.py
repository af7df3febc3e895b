import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from asking import asking
from problem import KIND

from daemon.clock import Instant
from daemon.history import History
from daemon.offload import Offload
from daemon.samples import StoredSample
from daemon.signals import Kind, SignalSpec
from daemon.state import StoredSignal
from daemon.web.series_answers import FindingsAnswer, HistoryAnswer, SignalsAnswer
from daemon.web.signal_routes import SignalRoutes
from detectors.findings import Contributor, Culprit, Finding, Resource, Strength, Unit

T0 = 1_772_323_200_000  # midnight UTC
NOW = T0 + 3_600_000
SPECS = [
    SignalSpec("cpu.busy", Unit.RATIO, Kind.RATE, "cpu"),
    SignalSpec("disk.sda.read_bytes_per_second", Unit.BYTES_PER_SECOND, Kind.RATE, "disk", "sda"),
    SignalSpec("cpu.idle", Unit.RATIO, Kind.RATE, "cpu"),
]
FINDING = Finding(
    "Anomaly", "anomaly", "", Strength.RAISED, "the host behaves unusually", 0.93, 0.8,
    (Contributor("cpu.busy", Unit.RATIO, "cpu", "", 0.99, 0.1, 0.3, math.inf),),
    (Culprit("app.service", "stress", Resource.CPU, 0.9), Culprit("db.service", "", Resource.DISK_WAIT, 0.5)),
)  # fmt: skip


@pytest.fixture
async def ask(tmp_path):
    """Ask of a host that took a sample a minute for an hour, with a break in it."""
    path = tmp_path / "history.db"
    history = History(path)
    rows = [row for row in range(60) if not 20 <= row < 40]
    history.add(
        [
            StoredSample(
                row + 1, Instant(T0 + row * 60_000, row * 10**9, 0, "boot"), 0, 4 * (row > 50), 1, row / 10, 4.0,
                np.array([1, 2, 3]), np.array([row / 60, 1.23456789e9 + row, np.nan], np.float32),
            )
            for row in rows
        ]
    )  # fmt: skip
    offload = Offload()
    values = ((SPECS[0], 0.5), (SPECS[1], 7.0), (SPECS[2], math.nan))
    snapshot = SimpleNamespace(values=values, time_ms=NOW, findings=(FINDING, FINDING))
    routes = SignalRoutes(
        history=path,
        signals=lambda: [StoredSignal(number, spec, T0, T0 + number) for number, spec in enumerate(SPECS, 1)],
        snapshot=lambda: snapshot,
        offload=offload,
        interval_seconds=60.0,
        score_threshold=lambda: 0.8,
        now_ms=lambda: NOW,
    )
    async with asking(routes.table()) as asks:
        yield asks
    offload.close()
    history.close()


async def test_signals_are_listed_page_by_page(ask):
    status, _, text = await ask("/api/v1/signals?limit=2")
    first = SignalsAnswer.model_validate_json(text)
    assert (status, first.total, [(one.id, one.name, one.value) for one in first.signals]) == (
        200, 3, [(1, "cpu.busy", 0.5), (2, "disk.sda.read_bytes_per_second", 7.0)],
    )  # fmt: skip
    assert (first.signals[1].unit, first.signals[1].kind, first.signals[1].resource) == (
        "bytes_per_second", "rate", "sda",
    )  # fmt: skip
    assert first.signals[0].last_seen_at == "2026-03-01T01:00:00.000Z"
    _, _, text = await ask(f"/api/v1/signals?limit=2&cursor={first.next}")
    second = SignalsAnswer.model_validate_json(text)
    assert (second.next, [(one.id, one.value) for one in second.signals]) == (None, [(3, None)])
    assert second.signals[0].last_seen_at == "2026-03-01T00:00:00.003Z"
    status, _, text = await ask("/api/v1/signals?cursor=77")
    assert (status, text.startswith("cursor: it leads nowhere")) == (400, True)


async def test_signals_are_found_by_family_and_by_a_part_of_the_name(ask):
    for query, names in (
        ("family=cpu", ["cpu.busy", "cpu.idle"]),
        ("search=READ", ["disk.sda.read_bytes_per_second"]),
        ("family=cpu&search=i", ["cpu.idle"]),
        ("family=gpu", []),
    ):
        _, _, text = await ask(f"/api/v1/signals?{query}")
        assert [one.name for one in SignalsAnswer.model_validate_json(text).signals] == names


async def test_a_chart_has_its_columns_and_a_gap_where_time_is_missing(ask):
    query = "signal=cpu.busy&signal=anomaly.score&signal=cpu.idle&signal=cpu.busy"
    status, headers, text = await ask(f"/api/v1/series?{query}")
    told = HistoryAnswer.model_validate_json(text)
    assert (status, told.step_seconds, told.source_seconds) == (200, 60.0, 0)
    assert [(one.signal, one.unit, one.threshold) for one in told.series] == [
        ("cpu.busy", "ratio", None), ("anomaly.score", "ratio", 0.8), ("cpu.idle", "ratio", None),
    ]  # fmt: skip
    assert {len(column) for one in told.series for column in (one.mean, one.min, one.max)} == {41}
    assert told.times_ms == sorted(told.times_ms)
    assert told.times_ms[19:22] == [T0 + 19 * 60_000, T0 + 20 * 60_000, T0 + 40 * 60_000]
    assert told.series[0].mean[19:22] == [0.316667, None, 0.666667]
    assert told.series[1].mean[50 - 19] == 0.833333  # 5.0, where 4.0 is shown as 0.8
    assert told.missing == ["cpu.idle"]
    assert (told.from_ms, told.to_ms) == (NOW + 1 - 86_400_000, NOW + 1)
    tag = {"If-None-Match": headers["ETag"]}
    assert (await ask(f"/api/v1/series?{query}", headers=tag))[0] == 304
    assert headers["Content-Encoding"] == "gzip"


async def test_the_span_is_told_in_milliseconds_or_as_a_date(ask):
    spans = [
        f"from={T0}&to={T0 + 600_000}",
        "from=2026-03-01T00:00:00Z&to=2026-03-01T00:10:00Z",
        "from=2026-03-01T01:00:00%2B01:00&to=2026-03-01T00:10:00.000Z",
    ]
    told = [(await ask(f"/api/v1/series?signal=cpu.busy&{span}"))[2] for span in spans]
    assert told[0] == told[1] == told[2]
    assert len(json.loads(told[0])["times_ms"]) == 10
    few = json.loads((await ask("/api/v1/series?signal=cpu.busy&points=10"))[2])
    assert (few["step_seconds"], len(few["times_ms"])) == (600.0, 5)
    assert few["series"][0]["max"][0] == pytest.approx(9 / 60, rel=1e-5)


async def test_a_chart_needs_no_more_digits_than_are_seen(ask):
    told = json.loads((await ask("/api/v1/series?signal=disk.sda.read_bytes_per_second"))[2])
    assert told["series"][0]["mean"][0] == 1.23457e9


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("", 400, "signal: Field required"),
        ("signal=cpu.bsuy", 404, 'there is no signal "cpu.bsuy"; did you mean "cpu.busy"?'),
        ("signal=", 404, 'there is no signal ""; see /api/v1/signals'),
        ("signal=cpu.busy&" * 21, 400, "signal: "),
        ("signal=cpu.busy&points=9", 400, "points: "),
        ("signal=cpu.busy&points=x", 400, "points: a whole number is wanted"),
        ("signal=cpu.busy&from=yesterday", 400, "from"),
        ("signal=cpu.busy&from=2026-03-01T00:00:00", 400, "from"),
        ("signal=cpu.busy&from=-1", 400, "from"),
        (f"signal=cpu.busy&from={NOW + 1}", 400, "from: it must be before `to`"),
        ("signal=cpu.busy&to=9999999999999999", 400, "to"),
        ("signal=cpu.busy&until=3", 400, "until: Extra inputs are not permitted"),
    ],
)
async def test_a_chart_of_what_is_not_there_is_refused_in_one_line(ask, query, status, words):
    found, headers, text = await ask(f"/api/v1/series?{query.rstrip('&')}")
    assert (found, headers["Content-Type"], text.count("\n")) == (status, KIND, 1)
    assert text.startswith(words)


async def test_a_history_that_cannot_be_read_is_told(ask, tmp_path):
    (tmp_path / "history.db").write_bytes(b"x" * 10_000)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"history.db{suffix}").unlink(missing_ok=True)
    status, _, text = await ask("/api/v1/series?signal=cpu.busy")
    assert (status, text.startswith("history.db: ")) == (503, True)


async def test_findings_are_told_with_their_evidence(ask):
    _, _, text = await ask("/api/v1/findings?limit=1")
    told = FindingsAnswer.model_validate_json(text)
    (one,) = told.findings
    assert (one.alertname, one.strength, one.score, told.next) == ("Anomaly", "raised", 0.93, "0")
    assert (one.contributors[0].surprise, one.culprits[0].unit, one.victims[0].waits_for) == (
        None, "app.service", "disk",
    )  # fmt: skip
    last = FindingsAnswer.model_validate_json((await ask("/api/v1/findings?cursor=0"))[2])
    assert (len(last.findings), last.next) == (1, None)
