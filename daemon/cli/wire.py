"""One question to the running daemon over HTTP, one typed answer, or one sentence on why there is none.

Enters: the configuration, and what is asked or ordered. Leaves: the daemon's answer. It asks this host only, follows
no redirect and no proxy, and shows the token to nobody but the daemon's own user.
"""

import contextlib
import http.client
import ipaddress
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from daemon.cli.terminal import printable
from daemon.config import Loaded, split_address
from daemon.errors import DaemonError, NotRunning

_SECONDS = 5.0
_LARGEST = 8 * 1024 * 1024
_OTHER_PORT = "see [http] listen"
_OTHER_VERSION = "after an update `systemctl restart presaged`"
_PROBLEM = "application/problem+json"
_LISTENING = "0A"
_DONE = (http.client.OK, http.client.CREATED, http.client.ACCEPTED)
_REFUSED = (http.client.BAD_REQUEST, http.client.SERVICE_UNAVAILABLE)
_NOT_HERE = "not here"
_NOT_TO_BE_HAD = (http.client.NOT_FOUND, http.client.CONFLICT)

Method = Literal["GET", "POST", "DELETE"]
T = TypeVar("T", bound=BaseModel)


def part(name: str) -> str:
    """Return what an operator typed as one part of a path, which is never empty nor "..": both would lead elsewhere."""
    part = quote(name.encode("utf-8", "surrogateescape"), safe="")
    return part if part.strip(".") else "%20"


def ask(
    loaded: Loaded,
    path: str,
    model: type[T],
    method: Method = "GET",
    sent: Mapping[str, object] | None = None,
    *,
    seconds: float | None = None,
) -> tuple[T, bytes]:
    """Return the daemon's answer; `sent` goes as JSON, `seconds` is the longest wait."""
    status, kind, body, lacking, where = _answered(loaded, path, method, sent, seconds)
    told = _detail(body) if kind.startswith(_PROBLEM) else body.decode("utf-8", "replace")
    said = printable(" ".join(told.split()))[:300]
    if status == http.client.UNAUTHORIZED:
        raise DaemonError(f"presaged on {where} does not let us in: {lacking}")
    if status in _REFUSED and said:
        raise DaemonError(f"presaged on {where} refused: {said}")
    if status == http.client.METHOD_NOT_ALLOWED or (status == http.client.NOT_FOUND and said.startswith(_NOT_HERE)):
        raise DaemonError(f"presaged on {where} is older than this presage and cannot answer; {_OTHER_VERSION}")
    if status in _NOT_TO_BE_HAD and kind.startswith(("text/plain", _PROBLEM)) and said:
        raise DaemonError(said)
    if kind.startswith(_PROBLEM) and said:
        raise DaemonError(f"presaged on {where} refused: {said}")
    if status not in _DONE:
        raise DaemonError(f"what answers on {where} is not presaged (HTTP status {status}); {_OTHER_PORT}")
    try:
        return model.model_validate_json(body), body
    except ValidationError as error:
        raise DaemonError(
            f"what answers on {where} is not this presaged; {_OTHER_PORT}, or {_OTHER_VERSION}"
        ) from error


def fetch(loaded: Loaded, path: str) -> str:
    """Return an answer as text, whatever it is of. Raises DaemonError."""
    status, _, body, lacking, where = _answered(loaded, path, "GET", None, None)
    if status not in _DONE:
        raise DaemonError(f"presaged on {where} answers with HTTP status {status}{': ' if lacking else ''}{lacking}")
    return body.decode("utf-8", "replace")


def _answered(
    loaded: Loaded, path: str, method: Method, sent: Mapping[str, object] | None, seconds: float | None
) -> tuple[int, str, bytes, str, str]:
    """Return status, content type, body, what is lacking to be let in, and where it was asked."""
    host, port = _address(loaded.config.http.listen)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    text = None if sent is None else json.dumps(sent, ensure_ascii=False).encode("utf-8", "replace")
    exchange = partial(_exchange, (host, port), where, method=method, path=path, sent=text, seconds=seconds or _SECONDS)
    is_open = method == "GET" and ipaddress.ip_address(host).is_loopback
    return *_let_in(exchange, loaded, port, is_open=is_open), where


def _let_in(
    exchange: Callable[..., tuple[int, str, bytes]], loaded: Loaded, port: int, *, is_open: bool
) -> tuple[int, str, bytes, str]:
    """Ask with the token where one is needed; return the answer, and what to do where that is not enough.

    What is open to all is asked without first: where there are thousands of connections, it is dear to find out who
    listens.
    """
    if is_open:
        status, kind, body = exchange(token=None)
        if status != http.client.UNAUTHORIZED:
            return status, kind, body, ""
    token, lacking = _token(loaded.state_directory / "token", port)
    return *exchange(token=token), lacking


def _detail(body: bytes) -> str:
    """Return what went wrong, "" where the answer does not say it in our form."""
    try:
        told = json.loads(body)
    except ValueError:
        return ""
    detail = told.get("detail") if isinstance(told, dict) else None
    return detail if isinstance(detail, str) else ""


def _address(listen: str) -> tuple[str, int]:
    """Where to ask: the numeric address that the daemon binds, loopback where it binds every one."""
    host, port = split_address(listen)
    if port == 0:
        raise DaemonError("[http] listen has the port 0, which is another at every start: give a fixed one")
    try:
        numeric = str(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0])
        address = ipaddress.ip_address(numeric)
    except (OSError, ValueError) as error:
        raise DaemonError(f"[http] listen: {listen} is not an address of this host") from error
    if address.is_unspecified:
        numeric = "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 - the IP version
    return numeric, port


def _token(path: Path, port: int) -> tuple[str | None, str]:
    """Return the token, None when it cannot or may not be shown, and what to do if that is not enough.

    Whoever takes the port while the daemon is down must not be handed it.
    """
    try:
        owner, token = path.stat().st_uid, path.read_text(encoding="ascii").strip()
    except PermissionError:
        return None, f"{path} holds the token and is not ours to read; try as root"
    except (OSError, ValueError):
        return None, f"there is no token in {path}; name the daemon's configuration with --config"
    listening = _listeners(port)
    if not listening or not listening <= {0, owner}:
        return None, "the port belongs to another user than the token, which was not shown"
    return token or None, f"it refused the token of {path}; name the daemon's configuration with --config"


def _listeners(port: int) -> set[int]:
    """User ids of all that listen on `port` in this network namespace."""
    users = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:  # no IPv6 here
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                users.add(int(fields[7]))
    return users


def _exchange(
    address: tuple[str, int],
    where: str,
    *,
    method: Method,
    path: str,
    token: str | None,
    sent: bytes | None,
    seconds: float,
) -> tuple[int, str, bytes]:
    """Return status, content type and body of the answer."""
    deadline = time.monotonic() + seconds
    connection = http.client.HTTPConnection(*address, timeout=seconds)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    if sent is not None:
        headers["Content-Type"] = "application/json"
    limit = threading.Timer(seconds, _cut, (connection,))  # the timeout is for one read: headers may come drop by drop
    limit.daemon = True
    limit.start()
    late = f"{where} gave no answer within {seconds:g} s; see `journalctl -u presaged`"
    try:
        connection.request(method, path, body=sent, headers=headers)
        response = connection.getresponse()
        body = b""
        while chunk := response.read1(65_536):
            body += chunk
            if len(body) > _LARGEST or time.monotonic() > deadline:
                raise DaemonError(f"what answers on {where} does not end; {_OTHER_PORT}")
        return response.status, response.getheader("Content-Type", ""), body
    except ConnectionRefusedError as error:
        raise NotRunning(f"nothing runs on {where}; `systemctl start presaged` or `make run`") from error
    except TimeoutError as error:
        raise DaemonError(late) from error
    except OSError as error:
        if time.monotonic() > deadline:
            raise DaemonError(late) from error
        raise DaemonError(f"{where}: {error.strerror or 'the connection was lost'}; {_OTHER_PORT}") from error
    except (http.client.HTTPException, ValueError) as error:
        if time.monotonic() > deadline:
            raise DaemonError(late) from error
        raise DaemonError(f"what answers on {where} does not speak HTTP; {_OTHER_PORT}") from error
    finally:
        limit.cancel()
        connection.close()


def _cut(connection: http.client.HTTPConnection) -> None:
    if connection.sock is not None:
        with contextlib.suppress(OSError):  # it has just ended by itself
            connection.sock.shutdown(socket.SHUT_RDWR)
