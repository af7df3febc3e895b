"""How long a TCP connection takes to configured targets and to the default gateway.

Enters: targets "host:port" and /proc/net/route. Leaves: seconds to connect, whether a target could be reached, and of
a target that is a name, how long the resolver took for it the last time. A refused connection is an answer: the round
trip is what is measured. Nothing is sent; the connection is closed at once.
"""

import errno
import select
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite, nan

from daemon.collectors.base import HostPaths, Measurement, network_file, understood
from daemon.errors import NotAvailable
from daemon.offload import Call, Lane
from daemon.signals import Kind, SignalSpec
from detectors.findings import Unit

Address = tuple[socket.AddressFamily, tuple[str, int]]
GATEWAY = "gateway"
GATEWAY_PORT = 53  # most home and office routers answer here, and the others refuse it
GATEWAY_ATTEMPTS = 3
GATEWAY_AGAIN_NS = 3600 * 10**9  # it may have been down while we started
RESOLVE_EVERY_NS = 300 * 10**9
RESOLVE_AGAIN_NS = 60 * 10**9  # after a failure without an address from before
GATEWAY_FIRST_SECONDS, _AT_FIRST_SECONDS = 0.2, 0.05  # one that never answered must not hold up samples, nor the first
MAX_TARGETS = 32
ANSWERS = frozenset((0, errno.ECONNREFUSED))
ROUTE_UP_AND_GATEWAY = 0x3


def resolve(host: str, port: int) -> Address:
    """Return the first address of a name; blocks as long as the resolver does."""
    name = host.encode() if host.isascii() else host  # as text it would bring the tables of international names
    family, _, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
    return family, (str(address[0]), port)


@dataclass(slots=True)
class _Target:
    """Where to connect; `address` is None until a name is resolved, which took `resolve_seconds`, NaN = it failed."""

    host: str
    port: int
    connect: SignalSpec
    reachable: SignalSpec
    resolve: SignalSpec
    address: Address | None = None
    is_name: bool = False
    resolve_seconds: float = nan
    resolve_at_ns: int = 0
    answered: bool = False
    attempts: int = 0


class LatencyCollector:
    """Connects to all targets at once under one deadline.

    The gateway gives signals only once it has answered: a firewall that drops is no anomaly.
    `unanswering_gateway` is the address of one that never did, and is left alone for an hour;
    "" otherwise. `resolver` is a seam for tests.
    """

    name = "latency"

    def __init__(
        self,
        *,
        paths: HostPaths,
        targets: Sequence[str] = (),
        connect_seconds: float = 1.0,
        gateway_port: int = GATEWAY_PORT,
        resolver: Callable[[str, int], Address] = resolve,
    ) -> None:
        self.deadline_seconds = 2 * connect_seconds + 2.0
        self._routes = network_file(paths, "route")
        self._connect_seconds = connect_seconds
        self._gateway_port = gateway_port
        self._resolver = resolver
        self._targets = [_parse(target) for target in targets[:MAX_TARGETS]]
        self._gateway: _Target | None = None
        self._gateway_again_ns = 0
        self._has_measured = False
        self._lane = Lane("resolver")
        self.unanswering_gateway = ""

    def collect(self, monotonic_ns: int) -> Sequence[Measurement]:
        """Connect to all targets now.

        Raises NotAvailable as long as there is neither a target nor a gateway that answers. Once
        there was one, a route that goes is no collector that stopped: the round is empty then.
        """
        self._resolve_names(monotonic_ns)
        gateway = self._find_gateway(monotonic_ns)
        targets = self._targets if gateway is None else [*self._targets, gateway]
        hoped_only = all(target is gateway and not target.answered for target in targets)
        patience = self._connect_seconds
        if hoped_only:
            is_first = gateway is not None and not gateway.attempts
            patience = min(patience, _AT_FIRST_SECONDS if is_first else GATEWAY_FIRST_SECONDS)
        seconds = connect_all([target.address for target in targets], patience)
        measured: list[Measurement] = []
        for target, elapsed in zip(targets, seconds, strict=True):
            answers = isfinite(elapsed)
            target.answered |= answers
            target.attempts += 1
            if target is gateway and not target.answered:
                if target.attempts >= GATEWAY_ATTEMPTS:
                    self.unanswering_gateway = target.host
                    self._gateway = None
                    self._gateway_again_ns = monotonic_ns + GATEWAY_AGAIN_NS
                continue
            measured += [(target.connect, elapsed), (target.reachable, float(answers))]
            if target.is_name:
                measured.append((target.resolve, target.resolve_seconds))
        self._has_measured |= bool(measured)
        if not self._has_measured:
            raise NotAvailable("no latency target is configured and no gateway answers")
        return measured

    def _find_gateway(self, monotonic_ns: int) -> _Target | None:
        try:
            routes = self._routes.read()
        except NotAvailable:  # a kernel without IPv4
            return None
        with understood(self._routes.path):
            host = default_gateway(routes)
        if not host or (host == self.unanswering_gateway and monotonic_ns < self._gateway_again_ns):
            return None
        if self._gateway is None or self._gateway.host != host:
            self._gateway = _describe(GATEWAY, host, self._gateway_port)
            self.unanswering_gateway = ""
        return self._gateway

    def _resolve_names(self, monotonic_ns: int) -> None:
        due = {t.host + f":{t.port}": t for t in self._targets if t.is_name and monotonic_ns >= t.resolve_at_ns}
        calls = [
            Call(key, partial(self._resolver, target.host, target.port), self._connect_seconds)
            for key, target in due.items()
        ]
        for outcome in self._lane.run_each(calls, budget_seconds=self._connect_seconds):
            target = due[outcome.key]
            target.resolve_seconds = outcome.seconds if outcome.error is None else nan
            if outcome.error is None:
                target.address = outcome.value  # type: ignore[assignment]  # what the resolver returned
            # an address from before stays in use while the resolver is down
            pause = RESOLVE_EVERY_NS if target.address else RESOLVE_AGAIN_NS
            target.resolve_at_ns = monotonic_ns + pause

    def close(self) -> None:
        """Give back the descriptor and let the resolver's lane end."""
        self._routes.close()
        self._lane.close()


def _parse(target: str) -> _Target:
    """Parse "host:port" or "[address]:port". Raises ValueError when it is neither."""
    host, separator, port = target.rpartition(":")
    if not separator or not host or not port.isdecimal():
        raise ValueError(f"latency target {target!r}: expected host:port")
    return _describe(target, host.removeprefix("[").removesuffix("]"), int(port))


def _describe(resource: str, host: str, port: int) -> _Target:
    prefix = f"latency.{resource}."
    described = _Target(
        host,
        port,
        SignalSpec(prefix + "connect_seconds", Unit.SECONDS, Kind.GAUGE, "latency", resource),
        SignalSpec(prefix + "reachable", Unit.RATIO, Kind.GAUGE, "latency", resource),
        SignalSpec(prefix + "resolve_seconds", Unit.SECONDS, Kind.GAUGE, "latency", f"name {host}"),
    )
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except OSError:
            continue
        described.address = (family, (host, port))
    described.is_name = described.address is None
    return described


def default_gateway(routes: bytes) -> str:
    """Return the IPv4 address of the default route with the lowest metric in /proc/net/route, "" when none."""
    found: list[tuple[int, str]] = []
    for line in routes.splitlines()[1:]:
        fields = line.split()
        flags = int(fields[3], 16)
        if fields[1] == fields[7] == b"00000000" and flags & ROUTE_UP_AND_GATEWAY == ROUTE_UP_AND_GATEWAY:
            # the file prints the address as a number of the machine's byte order
            packed = int(fields[2], 16).to_bytes(4, sys.byteorder)
            found.append((int(fields[6]), socket.inet_ntop(socket.AF_INET, packed)))
    return min(found)[1] if found else ""


def connect_all(addresses: Sequence[Address | None], deadline_seconds: float) -> list[float]:
    """Connect to all addresses at once; return seconds to each answer, NaN where none came in time."""
    seconds = [nan] * len(addresses)
    waiting: dict[int, tuple[int, socket.socket, int]] = {}
    poller = select.poll()
    end_ns = time.monotonic_ns() + int(deadline_seconds * 1e9)
    try:
        for place, address in enumerate(addresses):
            if address is None:
                continue
            started_ns = time.monotonic_ns()
            connection = _start(address)
            if connection is None:
                continue
            waiting[connection.fileno()] = (place, connection, started_ns)
            poller.register(connection, select.POLLOUT)
        while waiting and (left_ns := end_ns - time.monotonic_ns()) > 0:
            for descriptor, _ in poller.poll(left_ns / 1e6):
                now_ns = time.monotonic_ns()
                poller.unregister(descriptor)
                place, connection, started_ns = waiting.pop(descriptor)
                if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in ANSWERS:
                    seconds[place] = (now_ns - started_ns) / 1e9
                connection.close()
    finally:
        for _, connection, _ in waiting.values():
            connection.close()
    return seconds


def _start(address: Address) -> socket.socket | None:
    """Begin a connection; None when the kernel refuses at once, as without a route."""
    family, target = address
    try:
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError:  # no IPv6 here, or no descriptors left
        return None
    try:
        problem = connection.connect_ex(target)
    except OSError:
        problem = errno.EINVAL
    if problem in ANSWERS or problem == errno.EINPROGRESS:
        return connection
    connection.close()
    return None
