"""What a server can do wrong on command stands here; a real Prometheus is asked in tests/e2e/test_import.py."""

import asyncio
import json
import re
import shutil
import sqlite3
import ssl
import subprocess
import time
from urllib.parse import parse_qs

import numpy as np
import pytest
from aiohttp import web

from daemon.errors import DaemonError, StateError
from daemon.imports import targets
from daemon.imports.pages import PagedImport, join, patiently
from daemon.imports.prometheus import LabelledSeries, Prometheus, TooMuch, base_url, selector
from daemon.imports.table import Series, SeriesKey, Table
from daemon.imports.targets import PAGE_MS, Targets, find_interval, find_targets, judge_interval
from daemon.imports.writer import Written
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

FIRST_MS = 1_772_323_200_000  # on the grid of six hours
STEP_MS = 30_000
PHASE_MS = 123


class Double:
    """A server with one series a instance, sampled each 30 s; `faults` answer first, one request each."""

    def __init__(self):
        self.faults = []
        self.asked = []
        self.most_seconds = None
        self.tellers = {"web1:9100": "web1"}
        self.silent = (0, 0)
        self.slow_seconds = 0.0
        self.headers = []

    async def answer(self, request):
        form = {name: values[0] for name, values in parse_qs(await request.text()).items()}
        self.asked.append(form.get("query", request.path))
        self.headers.append(dict(request.headers))
        if self.faults:
            fault = self.faults.pop(0)
            return await fault(request) if callable(fault) else fault
        if request.path.endswith("/series"):
            return self._data(
                [
                    {"__name__": "node_uname_info", "instance": one, "nodename": name, "job": "node", "zone": "a"}
                    for one, names in self.tellers.items()
                    for name in names.split(",")
                ]
            )
        end, seconds = float(form["time"]), int(re.search(r"\[(\d+)s\]$", form["query"])[1])
        if self.most_seconds is not None and seconds > self.most_seconds:
            return self.error(422, "query processing would load too many samples into memory in query execution")
        if self.slow_seconds and seconds > self.slow_seconds:
            await asyncio.sleep(0.5)
        return self._data({"resultType": "matrix", "result": self._result(end, seconds)})

    def _result(self, end, seconds):
        # closed at both ends, as the Prometheus of today is not: nothing may come twice
        first = round(end * 1000) - seconds * 1000
        start = first - (first - PHASE_MS) % STEP_MS
        times = np.arange(start if start >= first else start + STEP_MS, round(end * 1000) + 1, STEP_MS)
        times = times[(times < self.silent[0]) | (times >= self.silent[1])]
        values = [[time_ms / 1000, str(time_ms // STEP_MS)] for time_ms in times.tolist()]
        labels = {"__name__": "node_memory_MemTotal_bytes", "instance": "web1:9100", "job": "node", "zone": "a"}
        return [{"metric": labels, "values": values}] if values else []

    def _data(self, data):
        return web.json_response({"status": "success", "data": data})

    @staticmethod
    def error(status, text, **headers):
        body = {"status": "error", "errorType": "x", "error": text}
        return web.json_response(
            body, status=status, headers={name.replace("_", "-"): at for name, at in headers.items()}
        )


@pytest.fixture
async def double():
    one = Double()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", one.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield one
    await runner.cleanup()


class MemoryWriter:
    """An ImportWriter in memory."""

    def __init__(self):
        self.rows = {}
        self.done = []
        self.failing = []
        self.alive = self.most_alive = 0

    def write(self, table, first_ms, end_ms):
        if self.failing:
            raise self.failing.pop()
        new = 0
        for time_ms, value in zip(table.time_ms.tolist(), table.values[:, 0].tolist(), strict=True):
            if first_ms <= time_ms < end_ms:
                new += time_ms not in self.rows
                self.rows[time_ms] = value
        return Written(new, 0)

    def is_done(self, source, first_ms, end_ms):
        return any(first <= first_ms and end_ms <= end for _, first, end in self.done)

    def note_done(self, source, first_ms, end_ms):
        self.done.append((source, first_ms, end_ms))


def convert(scrapes):
    (series,) = scrapes.values()
    spec = SignalSpec("memory.total_bytes", Unit.BYTES, Kind.GAUGE, "memory")
    return Table((spec,), series.time_ms, series.values[:, None].astype(np.float32), np.zeros_like(series.time_ms))


def server(double, **more):
    return Prometheus(double.url, **{"pause_seconds": 0.01, "patience_seconds": 2.0, **more})


def paged(one, writer, end_ms=FIRST_MS + 4 * PAGE_MS, **more):
    return PagedImport(
        one,
        Targets(("web1:9100",), frozenset({"instance", "job", "zone"})),
        writer,
        names=["node_memory_MemTotal_bytes"],
        convert=convert,
        source="prometheus x",
        scrape_seconds=30.0,
        gap_seconds=75.0,
        span_ms=(FIRST_MS, end_ms),
        **more,
    )


async def ask(double, **more):
    async with server(double, **more) as one:
        return await one.samples("x", FIRST_MS, FIRST_MS + 60_000)


async def refusal(double, **more):
    with pytest.raises(DaemonError) as caught:
        await ask(double, **more)
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_every_sample_comes_once_over_all_borders(double):
    writer = MemoryWriter()
    told = []
    async with server(double) as one:
        result = await paged(one, writer, progress=lambda imported, until_ms: told.append(until_ms)).run()
    expected = np.arange(FIRST_MS + PHASE_MS, FIRST_MS + 4 * PAGE_MS, STEP_MS)
    assert sorted(writer.rows) == expected.tolist()
    assert (result.new, result.unseen_ms, result.skipped_ms) == (len(expected), 0, 0)
    assert told == [FIRST_MS + (1 + page) * PAGE_MS for page in range(4)]
    assert {source for source, _, _ in writer.done} == {"prometheus x"}
    asked = {int(re.search(r"\[(\d+)s\]$", query)[1]) for query in double.asked}
    assert asked == {6 * 3600 + 75 + 1}  # one gap before the page: rates at its start are known


async def test_too_large_pages_are_halved_and_grow_again(double):
    double.most_seconds = 2 * 3600
    writer = MemoryWriter()
    async with server(double) as one:
        await paged(one, writer).run()
    assert len(writer.rows) == 4 * PAGE_MS // STEP_MS
    refused = sum(int(re.search(r"\[(\d+)s\]$", query)[1]) > double.most_seconds for query in double.asked)
    assert 2 < refused < 8  # it tries to grow, and not at every page


async def test_what_is_too_much_even_in_small_pages_is_told(double):
    double.most_seconds = 10
    with pytest.raises(DaemonError, match=r"too many samples .*, even of 6 minutes: raise its limits"):
        async with server(double) as one:
            await paged(one, MemoryWriter()).run()


async def test_a_question_that_times_out_is_halved(double):
    double.slow_seconds = 2 * 3600
    writer = MemoryWriter()
    async with server(double, deadline_seconds=0.25) as one:
        await paged(one, writer, FIRST_MS + PAGE_MS).run()
    assert len(writer.rows) == PAGE_MS // STEP_MS


async def test_an_answer_beyond_the_bound_is_halved_and_not_kept(double):
    writer = MemoryWriter()
    async with server(double, largest_bytes=12_000) as one:
        await paged(one, writer, FIRST_MS + PAGE_MS).run()
    assert len(writer.rows) == PAGE_MS // STEP_MS


@pytest.mark.parametrize("text", ["query timed out in expression evaluation", "the query exceeded max-samples"])
async def test_a_503_that_means_too_much_is_no_reason_to_wait(double, text):
    double.faults = [double.error(503, text)]
    with pytest.raises(TooMuch):
        await ask(double)
    double.faults = [double.error(503, text), double.error(504, "")]
    async with server(double) as one:  # less is not to be had: it may be that a proxy waits for its server
        assert await one.samples("x", FIRST_MS, FIRST_MS + 60_000, divisible=False)


async def test_pauses_without_samples_are_counted_and_asked_for_again(double):
    double.silent = (FIRST_MS + PAGE_MS // 2, FIRST_MS + 2 * PAGE_MS + PAGE_MS // 4)
    writer = MemoryWriter()
    async with server(double) as one:
        first = await paged(one, writer).run()
        again = await paged(one, writer).run()
    assert first.unseen_ms == pytest.approx(double.silent[1] - double.silent[0], abs=2 * STEP_MS)
    assert again.new == 0
    assert (again.unseen_ms, again.skipped_ms) == (PAGE_MS, 3 * PAGE_MS)


async def test_while_a_page_is_written_one_is_fetched_and_no_more(double):
    class Slow(MemoryWriter):
        def write(self, table, first_ms, end_ms):
            time.sleep(0.2)
            ahead.append(len(double.asked) - len(self.done))
            return super().write(table, first_ms, end_ms)

    ahead = []
    async with server(double) as one:
        await paged(one, Slow()).run()
    assert ahead == [2, 2, 2, 1]


async def test_who_stops_it_waits_for_the_page_that_is_written(double):
    class Slow(MemoryWriter):
        def write(self, table, first_ms, end_ms):
            time.sleep(0.3)
            return super().write(table, first_ms, end_ms)

    writer = Slow()
    async with server(double) as one:
        task = asyncio.create_task(paged(one, writer).run())
        while len(double.asked) < 2:  # noqa: ASYNC110 - the double has no event
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert writer.done == [("prometheus x", FIRST_MS, FIRST_MS + PAGE_MS)]


async def test_a_locked_database_is_waited_for(double):
    writer = MemoryWriter()
    writer.failing = [sqlite3.OperationalError("database is locked"), StateError("state.db: database is locked")]
    async with server(double) as one:
        result = await paged(one, writer, FIRST_MS + PAGE_MS).run()
    assert result.new == PAGE_MS // STEP_MS
    with pytest.raises(StateError, match="disk"):
        patiently(lambda: (_ for _ in ()).throw(StateError("no room on the disk")))
    with pytest.raises(StateError, match="locked"):
        patiently(lambda: (_ for _ in ()).throw(StateError("locked")), seconds=0.05, pause_seconds=0.01)


async def cut(request):
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"status"')
    request.transport.abort()
    return response


async def closed(request):
    request.transport.abort()
    return web.Response()


async def test_what_passes_is_asked_again(double):
    told = []
    async with server(double, told=told.append) as one:
        await one.samples("x", FIRST_MS, FIRST_MS + 60_000)
        double.faults = [
            Double.error(503, "starting"),
            cut,
            closed,
            Double.error(500, "internal"),
            Double.error(429, "slow down", Retry_After="0"),
        ]
        found = await one.samples("x", FIRST_MS, FIRST_MS + 60_000)
    assert len(found[0].series.time_ms) == 2
    assert len(double.asked) == 7
    assert told == ["HTTP 503: starting; trying again for 2 s at most"]


async def test_retry_after_is_honoured_and_bounded(double):
    double.faults = [Double.error(429, "slow down", Retry_After="1")]
    began = time.monotonic()
    await ask(double)
    assert 1.0 <= time.monotonic() - began < 2.0
    double.faults = [Double.error(503, "down", Retry_After="3600")]
    began = time.monotonic()
    assert "HTTP 503: down, for 2 s" in await refusal(double)
    assert time.monotonic() - began < 1.0


async def test_patience_ends_and_says_how_to_go_on(double):
    async with server(double, patience_seconds=0.3) as one:
        await one.samples("x", FIRST_MS, FIRST_MS + 60_000)
        double.faults = [closed] * 1000
        with pytest.raises(DaemonError, match=r"the same command goes on from here$"):
            await one.samples("x", FIRST_MS, FIRST_MS + 60_000)


def page(status=200, text="<html><body>It works</body></html>", **headers):
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (page, "is not a Prometheus (what it answers is not understood)"),
        (lambda: page(404), "is not a Prometheus (HTTP 404)"),
        (lambda: page(405), "is not a Prometheus (HTTP 405)"),
        (lambda: page(302, Location="http://elsewhere.example/?token=1"), "a redirect, which is not followed"),
        (lambda: page(401), "give a bearer token by --token-file FILE"),
        (lambda: page(403), "does not let us in (HTTP 403)"),
        (lambda: page(200, "{}"), "not understood"),
        (lambda: page(200, "[1]"), "not understood"),
        (lambda: page(200, '{"status":"success","data":{"resultType":"vector","result":[]}}'), "not understood"),
        (lambda: page(200, '{"status":"success","data":{"resultType":"matrix","result":[1]}}'), "not understood"),
        (lambda: Double.error(400, "parse error\nat 1"), "refuses the question (HTTP 400: parse error at 1)"),
    ],
)
async def test_what_is_no_prometheus_is_told_in_one_line(double, answer, says):
    double.faults = [answer()]
    said = await refusal(double)
    assert says in said
    assert said.startswith(double.url)
    assert "elsewhere" not in said
    assert len(double.asked) == 1


async def test_a_token_goes_along_and_is_never_told(double):
    double.faults = [page(401)]
    said = await refusal(double, token="s3cret")
    assert "its token is not accepted" in said
    assert "s3cret" not in said
    assert double.headers[0]["Authorization"] == "Bearer s3cret"
    with pytest.raises(ValueError, match="one line"):
        Prometheus(double.url, token="a\nb")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:1", "Connection refused: nothing listens there; is it the right port"),
        ("http://no-such-host.invalid:9090", "host name was not found: give the address of your Prometheus, like http"),
    ],
)
async def test_an_address_where_nobody_answers_is_told_at_once(url, says):
    async with Prometheus(url) as one:
        with pytest.raises(DaemonError, match=says):
            await one.samples("x", 0, 1000)


async def test_a_certificate_of_nobody_is_told(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], capture_output=True, check=True)  # noqa: ASYNC221
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with listener, Prometheus(f"https://localhost:{listener.sockets[0].getsockname()[1]}") as one:
        with pytest.raises(DaemonError, match="its certificate is not valid for this host, or not signed"):
            await one.samples("x", 0, 1000)


async def test_http_behind_https_is_told(double):
    async with Prometheus(double.url.replace("http:", "https:")) as one:
        with pytest.raises(DaemonError, match="does not speak TLS as we do"):
            await one.samples("x", 0, 1000)


async def test_a_proxy_of_the_environment_is_not_used(double, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert await ask(double)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "must begin with"),
        ("127.0.0.1:9090", "must begin with"),
        ("ftp://a", "must begin with"),
        ("http://", "must begin with"),
        ("http://a:x", "must begin with"),
        ("http://a b", "must begin with"),
        ("http://me:s3cret@a", "use --token-file"),
        ("http://a/?tenant=s3cret", r"must end before \?"),
        ("http://a/#x", r"must end before \?"),
    ],
)
def test_an_address_that_cannot_work_is_refused_without_being_repeated(url, says):
    with pytest.raises(ValueError, match=says) as caught:
        base_url(url)
    assert "s3cret" not in str(caught.value)


def test_addresses_with_a_path_are_taken():
    assert base_url("https://[::1]:9090/prometheus/") == "https://[::1]:9090/prometheus"


def test_names_of_instances_are_quoted():
    assert selector(["b", "a"], ['x"y\\z.de:1']) == r'{__name__=~"a|b",instance=~"x\"y\\\\z\\.de:1"}'


async def test_the_host_is_found_by_its_name(double):
    double.tellers = {"a:1": "web1", "b:1": "web1.example.org", "c:1": "web2", "d:1": "WEB1"}
    async with server(double) as one:
        assert await find_targets(one, "web1.example.org", (), 0, 1) == Targets(
            ("a:1", "b:1", "d:1"), frozenset({"instance", "job", "zone"})
        )
        assert (await find_targets(one, "web2", (), 0, 1)).instances == ("c:1",)
        double.tellers["c:1"] = "web2,mail9"
        for host, other in (("web2", "mail9"), ("mail9", "web2")):  # a new name, or an address that another host had
            ours = await find_targets(one, host, (), 0, 1)
            assert (ours.instances, ours.other_names) == (("c:1",), (other,))
            assert f"c:1 was called {other} too" in targets.doubt(ours)
        assert (await find_targets(one, "other", ("c:1", "a:1"), 0, 1)).instances == ("a:1", "c:1")
        with pytest.raises(DaemonError, match=r"no node_exporter nope; there is a:1 \(web1\), b:1 "):
            await find_targets(one, "web1", ("nope",), 0, 1)
        double.tellers |= {"e:1": "web1.example.com", "f:1": "db1"}
        with pytest.raises(DaemonError, match=r"several hosts could be this one; choose by --instance"):
            await find_targets(one, "web1", (), 0, 1)
        with pytest.raises(DaemonError, match=r"whose host is mail; choose by --instance: there is a:1 .* and 1 more$"):
            await find_targets(one, "mail", (), 0, 1)
        double.tellers = {}
        with pytest.raises(DaemonError, match="has no series of node_exporter"):
            await find_targets(one, "web1", (), 0, 1)


async def test_the_interval_is_that_of_the_newest_page_with_samples(double):
    ours = Targets(("web1:9100",), frozenset())
    double.silent = (FIRST_MS + PAGE_MS, FIRST_MS + 4 * PAGE_MS)
    async with server(double) as one:
        assert await find_interval(one, ours, FIRST_MS, FIRST_MS + 4 * PAGE_MS) == 30.0
        assert len(double.asked) == 4
        double.silent = (0, FIRST_MS * 2)
        with pytest.raises(DaemonError, match="has no samples of web1:9100"):
            await find_interval(one, ours, FIRST_MS, FIRST_MS + PAGE_MS)


def test_the_interval_must_be_like_ours():
    assert judge_interval(15.1, 15.0, "x") is None
    assert judge_interval(15.0, 30.0, "x") == (
        "x has a sample every 15 s, presaged takes one every 30 s: what is learned from it is less exact"
    )
    with pytest.raises(DaemonError, match=r"set \[sampling\] interval_seconds = 120 first"):
        judge_interval(120.0, 30.0, "x")


def labelled(time_ms, values, name="node_load1", **labels):
    series = Series(np.asarray(time_ms, np.int64), np.asarray(values, np.float64))
    return LabelledSeries({"__name__": name, **labels}, series)


TARGET = frozenset({"instance", "job", "zone"})


def test_a_host_that_was_renamed_is_one():
    old = labelled(np.arange(0, 100, 10), np.arange(10), instance="a", job="node", mode="x")
    new = labelled(np.arange(98, 198, 10), np.arange(10, 20), instance="b", job="node", mode="x")
    joined = join([new, old], TARGET, 10.0)
    (series,) = joined.values()
    assert list(joined) == [SeriesKey("node_load1", (("mode", "x"),))]
    # the first of the new name is within a scrape of the last of the old one
    assert series.time_ms.tolist() == [*range(0, 100, 10), *range(108, 198, 10)]
    assert series.values.tolist() == [*range(10), *range(11, 20)]


def test_a_host_that_was_scraped_twice_is_taken_once():
    first = labelled(np.r_[0:50:10, 100:150:10], np.zeros(10), instance="a")
    second = labelled(np.arange(4, 154, 10), np.ones(15), instance="b")
    alone = labelled(np.arange(4, 154, 10), np.ones(15), name="node_forks_total", instance="b")
    joined = join([second, first, alone], TARGET, 10.0)
    series = joined[SeriesKey("node_load1", ())]
    assert series.time_ms.tolist() == [0, 10, 20, 30, 40, 54, 64, 74, 84, 100, 110, 120, 130, 140]
    assert joined[SeriesKey("node_forks_total", ())].time_ms.tolist() == [54, 64, 74, 84]


def test_two_hosts_of_one_name_are_refused():
    hour = np.arange(0, 3_600_000, 30_000)
    boots = [
        labelled(hour, np.full(len(hour), booted), name="node_boot_time_seconds", instance=name)
        for name, booted in (("a", 1000.0), ("b", 1001.0), ("c", 90_000.0))
    ]
    targets._refuse_two_hosts(boots[:2])
    with pytest.raises(DaemonError, match="a and c bear the name of this host and are two hosts"):
        targets._refuse_two_hosts(boots)


async def test_special_values_and_histograms(double):
    matrix = [
        {"metric": {"__name__": "a"}, "values": [[FIRST_MS / 1000 + 0.001, "NaN"], [FIRST_MS / 1000 + 1, "+Inf"]]},
        {"metric": {"__name__": "h"}, "histograms": []},
    ]
    body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": matrix}})
    double.faults = [web.Response(text=body, content_type="application/json")]
    (found,) = await ask(double)
    assert found.series.time_ms.tolist() == [FIRST_MS + 1, FIRST_MS + 1000]
    assert np.isnan(found.series.values[0])
    assert np.isposinf(found.series.values[1])
