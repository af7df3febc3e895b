import socket
import threading
import time
from math import isnan

import pytest

from daemon.collectors.latency import LatencyCollector, default_gateway
from daemon.errors import NotAvailable

SECOND = 10**9
HEADER = b"Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
LOOPBACK = (socket.AF_INET, "127.0.0.1")


def route(gateway, metric=0, flags="0003", destination="00000000", mask="00000000"):
    return f"eth0\t{destination}\t{gateway}\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n".encode()


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def refusing():
    """A port of our own that nobody listens on; it stays bound, so nobody else can take it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def silent():
    """A listener whose queue is full drops every further attempt, as a firewall does."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        time.sleep(0.05)
        yield address[1]
        for filler in fillers:
            filler.close()


@pytest.fixture
def build(tree):
    built = []

    def build(**arguments):
        built.append(LatencyCollector(paths=tree.paths, connect_seconds=0.3, **arguments))
        return built[-1]

    yield build
    for collector in built:
        collector.close()


def test_open_refused_and_silent_targets_under_one_deadline(tree, build, listening, refusing, silent):
    targets = [f"127.0.0.1:{port}" for port in (listening, refusing, silent, silent)]
    latency = build(targets=targets[:3])
    begin = time.monotonic()
    values = tree.values(latency, 100)
    assert time.monotonic() - begin < 1.0
    for target in targets[:2]:  # a refusal is an answer
        assert 0 < values[f"latency.{target}.connect_seconds"] < 0.3
        assert values[f"latency.{target}.reachable"] == 1.0
    assert isnan(values[f"latency.{targets[2]}.connect_seconds"])
    assert values[f"latency.{targets[2]}.reachable"] == 0.0


def test_no_descriptor_is_left_behind(tree, build, listening, silent):
    latency = build(targets=[f"127.0.0.1:{listening}", f"127.0.0.1:{silent}"])
    tree.values(latency, 100)
    with socket.socket() as before:
        number = before.fileno()
    for second in range(3):
        tree.values(latency, second)
    with socket.socket() as after:
        assert after.fileno() == number


def test_a_name_is_resolved_at_most_every_five_minutes(tree, build, listening):
    asked = []

    def resolver(host, port):
        asked.append(host)
        return socket.AF_INET, ("127.0.0.1", port)

    latency = build(targets=[f"db.example:{listening}"], resolver=resolver)
    for second in (1000, 1030, 1299, 1300, 1330):
        assert tree.values(latency, second)[f"latency.db.example:{listening}.reachable"] == 1.0
    assert asked == ["db.example"] * 2


def test_a_resolver_that_fails_keeps_the_address_from_before(tree, build, listening):
    answers = [(socket.AF_INET, ("127.0.0.1", listening))]

    def resolver(host, port):
        if answers:
            return answers.pop()
        raise socket.gaierror(-3, "temporary failure")

    latency = build(targets=[f"db.example:{listening}"], resolver=resolver)
    for second in (1000, 1300):
        assert tree.values(latency, second)[f"latency.db.example:{listening}.reachable"] == 1.0


def test_a_resolver_that_hangs_or_knows_nothing_leaves_the_others_alone(tree, build, listening):
    release = threading.Event()

    def resolver(host, port):
        release.wait()
        raise socket.gaierror(-2, "unknown")

    latency = build(targets=["db.example:5432", f"127.0.0.1:{listening}"], resolver=resolver)
    begin = time.monotonic()
    values = tree.values(latency, 1000)
    assert time.monotonic() - begin < latency.deadline_seconds
    assert values["latency.db.example:5432.reachable"] == 0.0
    assert values[f"latency.127.0.0.1:{listening}.reachable"] == 1.0
    release.set()


def test_how_long_a_name_took_stands_until_it_is_asked_again(tree, build, listening):
    pauses = [0.05, None, 0.0]

    def resolver(host, port):
        pause = pauses.pop(0)
        if pause is None:
            raise socket.gaierror(-3, "temporary failure")
        time.sleep(pause)
        return socket.AF_INET, ("127.0.0.1", port)

    latency = build(targets=[f"db.example:{listening}", f"127.0.0.1:{listening}"], resolver=resolver)
    name = f"latency.db.example:{listening}.resolve_seconds"
    first = tree.values(latency, 1000)
    assert 0.05 <= first[name] < 0.3
    assert f"latency.127.0.0.1:{listening}.resolve_seconds" not in first
    assert tree.values(latency, 1030)[name] == first[name]
    assert isnan(tree.values(latency, 1300)[name])
    assert tree.values(latency, 1600)[name] < 0.05
    spec = next(spec for spec, _ in latency.collect(1630 * SECOND) if spec.name == name)
    assert spec.resource == "name db.example"


def test_addresses_are_never_resolved(tree, build):
    def resolver(host, port):
        raise AssertionError("asked for an address")

    latency = build(targets=["127.0.0.1:1", "[::1]:1"], resolver=resolver)
    tree.values(latency, 1000)


@pytest.mark.parametrize("target", ["host", "host:", ":80", "host:http", ""])
def test_a_target_without_host_or_port_is_refused(build, target):
    with pytest.raises(ValueError, match="expected host:port"):
        build(targets=[target])


def test_the_gateway_of_the_lowest_metric_is_taken():
    assert default_gateway(HEADER + route("010200C0", 600) + route("0100000A", 100)) == "10.0.0.1"
    assert default_gateway(HEADER + route("00000000", flags="0001", destination="000200C0", mask="00FFFFFF")) == ""
    assert default_gateway(HEADER + route("010200C0", flags="0002")) == ""
    assert default_gateway(HEADER) == ""


def test_a_gateway_that_refuses_answers(tree, build, refusing):
    tree.write("proc/net/route", HEADER + route("0100007F"))
    values = tree.values(build(gateway_port=refusing), 100)
    assert values["latency.gateway.reachable"] == 1.0
    assert 0 < values["latency.gateway.connect_seconds"] < 0.3


def test_a_gateway_that_never_answers_is_dropped_with_a_note_and_asked_again_in_an_hour(tree, build, silent):
    tree.write("proc/net/route", HEADER + route("0100007F"))
    latency = build(gateway_port=silent)

    def seconds_of_a_round(second):
        begin = time.monotonic()
        with pytest.raises(NotAvailable):  # never a success first: a collector that worked and stops is an alert
            latency.collect(second * SECOND)
        return time.monotonic() - begin

    assert 0.05 <= seconds_of_a_round(100) < 0.2  # it must not hold up the first sample
    assert [seconds_of_a_round(second) >= 0.2 for second in (130, 160, 190)] == [True, True, False]
    assert latency.unanswering_gateway == "127.0.0.1"
    assert seconds_of_a_round(3760) >= 0.05  # asked again, still silent


def test_a_route_that_goes_is_no_collector_that_stopped(tree, build, refusing):
    tree.write("proc/net/route", HEADER + route("0100007F"))
    latency = build(gateway_port=refusing)
    assert tree.values(latency, 100)
    tree.write("proc/net/route", HEADER)
    assert tree.values(latency, 130) == {}


def test_a_gateway_that_answered_once_stays_and_is_unreachable_when_silent(tree, build, refusing, silent):
    tree.write("proc/net/route", HEADER + route("0100007F"))
    latency = build(gateway_port=refusing)
    tree.values(latency, 100)
    latency._gateway.address = (socket.AF_INET, ("127.0.0.1", silent))
    for second in (130, 160, 190, 220):
        values = tree.values(latency, second)
        assert values["latency.gateway.reachable"] == 0.0
        assert isnan(values["latency.gateway.connect_seconds"])
    assert latency.unanswering_gateway == ""


def test_without_target_and_gateway_there_is_nothing(tree, build):
    with pytest.raises(NotAvailable):
        build().collect(0)
