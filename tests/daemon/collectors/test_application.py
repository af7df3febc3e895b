import math
import os
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.exposition import generate_latest

from daemon.collectors.application import Asked, application_collectors
from daemon.errors import CollectorError
from daemon.exposition import figures
from daemon.signals import Kind
from detectors.findings import Unit

SECOND = 10**9
GAP_SECONDS = 75.0


@pytest.fixture
def build():
    built = []

    def build(*asked, gap_seconds=GAP_SECONDS):
        built.extend(application_collectors(asked, gap_seconds))
        return built if len(asked) > 1 else built[-1]

    yield build
    for collector in built:
        collector.close()


@pytest.fixture
def serve():
    """A server that answers by a function of ours; returns its URL."""
    servers = []

    def serve(answer):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):  # the name is of the standard library
                answer(self)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.block_on_close = False
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/metrics"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def text(content, status=200):
    def answer(handler):
        handler.send_response(status)
        handler.end_headers()
        handler.wfile.write(content() if callable(content) else content)

    return answer


def test_a_real_endpoint_of_prometheus_client(build, tree):
    registry = CollectorRegistry()
    requests = Counter("http_requests", "Requests.", ["code"], registry=registry)
    sent = Counter("sent_bytes", "Bytes sent.", registry=registry)
    depth = Gauge("queue_depth", "Waiting.", ["queue"], registry=registry)
    heap = Gauge("heap_bytes", "Heap.", registry=registry)
    hits = Gauge("cache_hit_ratio", "Hits.", registry=registry)
    took = Histogram("request_seconds", "Time.", ["path"], registry=registry)
    Gauge("secret_count", "Nobody listed it.", registry=registry).set(7)
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        listed = (
            "http_requests_total", "sent_bytes_total", "queue_depth", "heap_bytes", "cache_hit_ratio",
            "request_seconds", "request_seconds_count", "absent_metric",
        )  # fmt: skip
        shop = build(Asked("shop", f"http://127.0.0.1:{server.server_port}/metrics", "", listed))
        assert shop.name == "application.shop"
        requests.labels("200").inc(10)
        depth.labels("mail").set(3)
        depth.labels("print").set(4)
        heap.set(1e6)
        hits.set(0.9)
        took.labels("/").observe(5.0)
        first = tree.values(shop, 100)
        assert math.isnan(first["app.shop.http_requests_per_second"])
        requests.labels("200").inc(20)
        requests.labels("500").inc(10)
        sent.inc(6000)
        took.labels("/").observe(0.25)
        took.labels("/buy").observe(0.75)
        measured = shop.collect(130 * SECOND)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    specs = {spec.name: spec for spec, _ in measured}
    assert {spec.name: value for spec, value in measured} == pytest.approx(
        {
            "app.shop.http_requests_per_second": 1.0,
            "app.shop.sent_bytes_per_second": 200.0,
            "app.shop.queue_depth_count": 7.0,
            "app.shop.heap_bytes": 1e6,
            "app.shop.cache_hit_ratio": 0.9,
            "app.shop.request_seconds": 0.5,
            "app.shop.request_seconds_count_per_second": 2 / 30,
        }
    )
    units = [Unit.PER_SECOND, Unit.BYTES_PER_SECOND, Unit.COUNT, Unit.BYTES, Unit.RATIO, Unit.SECONDS, Unit.PER_SECOND]
    assert [spec.unit for spec in specs.values()] == units
    assert {spec.kind for spec in specs.values() if spec.name.endswith("_per_second")} == {Kind.RATE}
    assert {(spec.family, spec.resource) for spec in specs.values()} == {("app", "shop")}


def test_a_counter_that_starts_anew_nan_and_a_stale_timestamp_are_missing(build, tree, serve):
    now_ms = int(time.time() * 1000)
    answers = [
        b"a_total 5\nb 1\nc 2\n",
        b'a_total 3\nb{x="1"} NaN\nb{x="2"} 1\nc 2 %d\n' % (now_ms - 400_000),
        b"a_total 63\nb 2\nc 2 %d\n" % (now_ms - 200_000),
    ]
    app = build(Asked("x", serve(text(lambda: answers.pop(0))), "", ("a_total", "b", "c")))
    tree.values(app, 100)
    assert all(math.isnan(value) for value in tree.values(app, 130).values())
    assert tree.values(app, 160) == {"app.x.a_per_second": 2.0, "app.x.b_count": 2.0, "app.x.c_count": 2.0}


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (text(b"", 503), "answers 503 Service Unavailable"),
        (text(b"", 302), "answers 302 Found"),
        (text(b"<html>welcome</html>"), "has none of the listed metrics"),
        (text(b"depth one\n"), "line 1 is not understood"),
        (text(b"x" * 1_000_000 + b"\n" + b"y" * 1_100_000), "is larger than 2 MB"),
        (lambda handler: handler.wfile.write(b"nothing of the kind\r\n\r\n"), "nothing of the kind"),
        (lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndepth 1"), "ends early"),
        (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), "closed connection without response"),
    ],
)
def test_what_is_no_answer_is_told(build, serve, answer, problem):
    app = build(Asked("x", serve(answer), "", ("depth",)))
    with pytest.raises(CollectorError, match=problem):
        app.collect(SECOND)


def test_one_that_nobody_serves(build):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        app = build(Asked("x", f"http://127.0.0.1:{bound.getsockname()[1]}/", "", ("depth",)))
        with pytest.raises(CollectorError, match="Connection refused"):
            app.collect(SECOND)


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\ndepth", b"HTTP/1.0 200 O"])
def test_slow_ones_cost_one_deadline_together_and_nothing_of_the_others(build, serve, tree, head):
    release = threading.Event()

    def drip(handler):
        handler.wfile.write(head)
        while not release.wait(0.02):  # a letter at a time: no single read is ever late
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    slow = [Asked(f"slow{number}", serve(drip), "", ("depth",)) for number in range(3)]
    quick = Asked("quick", serve(text(b"depth 2\n")), "", ("depth",))
    *stuck, well = build(*slow, quick, gap_seconds=2.0)
    for second in (1, 2):
        begin = time.monotonic()
        for app in stuck:
            with pytest.raises(CollectorError, match="no whole answer in time"):
                app.collect(second * SECOND)
        assert tree.values(well, second) == {"app.quick.depth_count": 2.0}
        assert time.monotonic() - begin < 0.8  # of a deadline of 0.4 s
    release.set()


def test_one_that_was_stuck_is_asked_again_and_its_late_answer_is_not_taken(build, serve, tree):
    served = threading.Event()
    answers = [1, 2]

    def answer(handler):
        number = answers.pop(0)
        if number == 1:
            time.sleep(0.6)
        try:
            text(b"depth %d\n" % number)(handler)
        finally:
            served.set()

    app = build(Asked("x", serve(answer), "", ("depth",)), gap_seconds=2.0)
    with pytest.raises(CollectorError, match="in time"):
        app.collect(SECOND)
    served.wait()
    time.sleep(0.1)
    assert tree.values(app, 2) == {"app.x.depth_count": 2.0}


def test_no_thread_and_no_descriptor_is_left(serve):
    url = serve(text(b"depth 2\n"))
    threads = threading.active_count()
    for second in range(3):
        (app,) = application_collectors([Asked("x", url, "", ("depth",))], GAP_SECONDS)
        app.collect(second * SECOND)
        app.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= threads


def test_files_of_a_folder_without_those_that_are_stale(build, tree, tmp_path):
    registry = CollectorRegistry()
    Gauge("backup_seconds", "Time.", registry=registry).set(90)
    (tmp_path / "backup.prom").write_bytes(generate_latest(registry))
    (tmp_path / "queue.prom").write_text('depth{queue="a"} 1\ndepth{queue="b"} 2')
    (tmp_path / "old.prom").write_text("age 5\n")
    (tmp_path / "notes.txt").write_text("other 5\n")
    os.mkfifo(tmp_path / "pipe.prom")
    app = build(Asked("nightly", "", str(tmp_path), ("backup_seconds", "depth", "age", "other")))
    past = time.time() - 310
    os.utime(tmp_path / "old.prom", (past, past))
    assert tree.values(app, 1) == {"app.nightly.backup_seconds": 90.0, "app.nightly.depth_count": 3.0}
    for name in ("backup", "queue", "pipe"):
        os.utime(tmp_path / f"{name}.prom", (past, past))
    with pytest.raises(CollectorError, match=r"nothing was written for 3\d\d s"):
        app.collect(2 * SECOND)


def test_a_folder_that_is_not_there_is_empty_or_too_large(build, tmp_path):
    with pytest.raises(CollectorError, match="No such file"):
        build(Asked("x", "", str(tmp_path / "none"), ("a",))).collect(1)
    app = build(Asked("x", "", str(tmp_path), ("a",)))
    with pytest.raises(CollectorError, match=r"there is no \*\.prom file"):
        app.collect(1)
    for number in range(3):
        (tmp_path / f"{number}.prom").write_bytes(b"#" * 900_000)
    with pytest.raises(CollectorError, match="more than 2 MB"):
        app.collect(2)


def test_what_a_metric_is_called(build, serve, tree):
    names = {
        "go_Heap:alloc_bytes": "app.x.go_heap_alloc_bytes",
        "up": "app.x.up_count",
        "room_celsius": "app.x.room_celsius",
        "worker_count": "app.x.worker_count",
        "jobs_per_second": "app.x.jobs_per_second",
        "cpu_seconds_total": "app.x.cpu_seconds_per_second",
    }
    body = "".join(f"{name} 1\n" for name in names).encode()
    assert set(tree.values(build(Asked("x", serve(text(body)), "", tuple(names))), 1)) == set(names.values())


def test_of_two_metrics_that_would_be_called_alike_the_first_is_taken(build, serve, tree):
    app = build(Asked("x", serve(text(b"jobs 1\njobs_count 2\n")), "", ("jobs", "jobs_count")))
    assert tree.values(app, 1) == {"app.x.jobs_count": 1.0}


def test_a_type_is_that_of_openmetrics_or_of_prometheus():
    names = ("a_total", "b", "c_total", "d_count", "d_sum", "e_total")
    prometheus = b"# TYPE a_total counter\n# TYPE b counter\n# TYPE d summary\n# TYPE e_total gauge\n"
    found = figures(prometheus, names, 0)
    assert [name for name in names if found.is_counter(name)] == ["a_total", "b", "c_total", "d_count", "d_sum"]
    assert figures(b"# TYPE a counter\n# TYPE c gauge\n", names, 0).is_counter("a_total")
    assert not figures(b"# TYPE a counter\n# TYPE c gauge\n", names, 0).is_counter("c_total")


@given(st.binary(max_size=300), st.lists(st.sampled_from([b"depth", b"{", b'="', b"\n", b" ", b"NaN", b"# TYPE "])))
def test_nonsense_is_refused_or_passed_over(noise, pieces):
    try:
        found = figures(noise + b"".join(pieces), ("depth",), 0.0)
    except ValueError:
        return
    assert set(found.totals) <= {"depth", "depth_sum", "depth_count"}


def test_two_megabytes_are_read_in_a_moment():
    line = b'http_request_duration_seconds_bucket{method="GET",path="/api/v1/orders/%d",le="0.25"} 17\n'
    body = b"".join(line % number for number in range(24_000)) + b"depth 4\n"
    assert len(body) > 1_900_000
    begin = time.thread_time()
    assert figures(body, ("depth",), 0.0).totals == {"depth": 4.0}
    assert time.thread_time() - begin < 0.5


def test_in_the_whole_daemon(daemons, serve):
    """From the configuration to /metrics; one that is down is told by name and costs nothing of the other."""
    requests = iter(range(0, 10**6, 50))
    url = serve(text(lambda: b"requests_total %d\nqueue_depth 3\n" % next(requests)))
    blocks = "".join(
        f'[[collectors.application]]\nname = "{name}"\nurl = "{where}"\nmetrics = ["requests_total", "queue_depth"]\n'
        for name, where in (("shop", url), ("down", "http://127.0.0.1:9/metrics"))
    )
    daemon = daemons(text=f"[sampling]\ninterval_seconds = 1\n{blocks}").start()
    status = daemon.wait(lambda status: status["samples"] >= 3)
    problems = {one["name"]: one["problem"] for one in status["collectors"] if "application" in one["name"]}
    assert problems == {"application.shop": "", "application.down": "http://127.0.0.1:9/metrics: Connection refused"}
    metrics = daemon.get("/metrics")
    assert 'presaged_signal_quantity{signal="app.shop.queue_depth_count"} 3.0' in metrics
    (rate,) = [line for line in metrics.splitlines() if 'signal="app.shop.requests_per_second"' in line]
    assert 25 < float(rate.split()[-1]) < 100
    assert 'presaged_collector_success{collector="application.down"} 0.0' in metrics
    assert daemon.end()[0] == 0
