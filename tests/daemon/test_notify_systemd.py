import os
import socket
from types import SimpleNamespace

import pytest

from daemon.notify_systemd import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(request, tmp_path, monkeypatch):
    """A datagram socket as systemd has it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(5)
        if request.param == "path":
            address = str(tmp_path / "notify")
            receiver.bind(address)
        else:
            address = f"@presaged-test-{os.getpid()}"
            receiver.bind("\0" + address[1:])
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        monkeypatch.delenv("WATCHDOG_USEC", raising=False)
        monkeypatch.delenv("WATCHDOG_PID", raising=False)
        yield receiver


def words(receiver):
    return receiver.recv(4096).decode().split("\n")


def test_everything_that_is_said(systemd):
    notifier = Notifier()
    notifier.ready("12 samples")
    assert words(systemd) == ["READY=1", "STATUS=12 samples"]
    notifier.alive("13 samples")
    assert words(systemd) == ["WATCHDOG=1", "STATUS=13 samples"]
    notifier.reloading()
    first, second = words(systemd)
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert int(second.partition("=")[2]) > 0
    notifier.stopping()
    assert words(systemd) == ["STOPPING=1", "STATUS=stopping"]


def test_a_child_does_not_inherit_the_address(systemd, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "90000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    notifier = Notifier()
    assert notifier.watchdog_seconds == 90
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
    monkeypatch.setenv("WATCHDOG_USEC", "90000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert Notifier().watchdog_seconds is None


def test_where_nobody_listens_it_is_silent(monkeypatch, tmp_path):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier().ready("x")
    for address in (str(tmp_path / "nobody"), "@nobody-there", str(tmp_path), "/" + "x" * 300):
        monkeypatch.setenv("NOTIFY_SOCKET", address)
        Notifier().alive("x")


def test_a_receiver_that_does_not_read_never_blocks_us(systemd):
    notifier = Notifier()
    for _ in range(2000):
        notifier.alive("x" * 500)
    assert words(systemd)[0] == "WATCHDOG=1"


async def test_the_watchdog_is_fed_by_a_tick_and_by_nothing_else(systemd, hosts, quiet_collector, monkeypatch):
    """The whole daemon's own publish: as many signs of life as ticks, and none while a tick hangs."""
    from daemon.app import App  # noqa: PLC0415

    host = await hosts(quiet_collector(4))
    app = App.__new__(App)
    app._notifier, app._snapshot, app._started_ms = Notifier(), None, host.clock.now().time_ms
    app._metrics, app._pipeline, app._learning, app._clock = host.metrics, host.pipeline, host.learning, host.clock
    app._alerts = SimpleNamespace(beats=None)
    app._events = SimpleNamespace(publish=lambda _snapshot: None)
    app._forecasts = SimpleNamespace(after_tick=lambda: None)
    app._failures = SimpleNamespace(after_tick=lambda _seen: None)
    app._degraded = SimpleNamespace(note_round=lambda not_stored: None, modes=())
    host.tick._publish = app._publish
    await host.take(1)
    assert words(systemd)[0] == "READY=1"
    assert words(systemd)[0] == "WATCHDOG=1"
    await host.take(2)
    assert [words(systemd)[0] for _ in range(2)] == ["WATCHDOG=1"] * 2

    async def hang(*_arguments, **_named):
        raise TimeoutError

    monkeypatch.setattr(host.tick, "_store", hang)
    with pytest.raises(TimeoutError):
        await host.take(1)
    host.metrics.render()
    systemd.setblocking(False)
    with pytest.raises(BlockingIOError):
        systemd.recv(10)
