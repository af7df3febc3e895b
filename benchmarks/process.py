"""The real daemon as a process: started on a scratch configuration, asked over HTTP, ended."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

TRAIN_AFTER = 90
_PR_SET_MDWE = 65


def deny_write_execute() -> None:
    """Let no memory of this process and its children become executable, as MemoryDenyWriteExecute= does."""
    if ctypes.CDLL(None).prctl(_PR_SET_MDWE, 1, 0, 0, 0):
        raise OSError("this kernel has no PR_SET_MDWE")


@contextmanager
def daemon(
    folder: Path,
    backend: str,
    port: int,
    *,
    python: str = sys.executable,
    mdwe: bool = False,
    log: str = "warning",
    more: str = "",
) -> Iterator[psutil.Process]:
    """Run the daemon of the environment of `python`, state and log.jsonl in `folder`, a sample a second.

    `more`: further tables of the configuration.
    """
    config = folder / "config.toml"
    config.write_text(
        f'[sampling]\ninterval_seconds = 1\n[storage]\ndirectory = "state"\n[compute]\nbackend = "{backend}"\n'
        f'[log]\nlevel = "{log}"\n[anomaly]\nnetwork_after_samples = {TRAIN_AFTER}\n'
        f'[http]\nlisten = "127.0.0.1:{port}"\n{more}',
        encoding="utf-8",
    )
    environment = {**os.environ, "CACHE_DIRECTORY": str(Path(tempfile.gettempdir()) / "presaged-footprint-cache")}
    with (folder / "log.jsonl").open("wb") as stderr:
        process = subprocess.Popen(
            [python, "-P", "-m", "daemon", "--config", str(config)],
            env=environment, stderr=stderr, preexec_fn=deny_write_execute if mdwe else None,  # noqa: PLW1509 - no threads
        )  # fmt: skip
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=10)


def cpu_seconds(pid: int) -> float:
    """CPU of all threads in nanosecond resolution: /proc/PID/stat counts in hundredths of a second only."""
    nanoseconds = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        nanoseconds += int((thread / "schedstat").read_text(encoding="ascii").split()[0])
    return nanoseconds / 1e9


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(url: str) -> bytes:
    """Return what is under `url`."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bytes(answer.read())


def status(port: int) -> dict[str, Any]:
    """Return what the daemon says of itself."""
    return dict(json.loads(get(f"http://127.0.0.1:{port}/api/v1/status")))


def wait(port: int, condition: Callable[[dict[str, Any]], bool], seconds: float = 300.0) -> None:
    """Return when the daemon's status meets `condition`. Raises TimeoutError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if condition(status(port)):
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise TimeoutError("the daemon did not get there")


def is_trained(said: dict[str, Any]) -> bool:
    """Say whether a trained network is on duty and nothing else is going on."""
    return bool(said["anomaly"] and said["anomaly"]["model"]) and not said["job"]
