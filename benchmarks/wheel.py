"""What the wheel costs on a host: the daemon from it beside the JIT of this checkout, and both training.

Installs the wheel into an environment of its own, with the locked dependencies except Numba and llvmlite,
and forbids executable memory. The daemon learns and trains there, ends, and is started again, which is
measured: memory until its start is over, after it has given back the clean pages of its files, and a while
later; the time to the first inference (the champion scores what is stored) and to the first sample with a
score. Then the same of the JIT on the same state, its kernels cached.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata
from pathlib import Path
from statistics import median

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks.process import daemon, deny_write_execute, free_port, is_trained, wait
from benchmarks.report import Row, smaller_is_better, write

ROOT = Path(__file__).parents[1]
_WITHOUT = frozenset({"numba", "llvmlite"})
_LATER_SECONDS = 30.0
_DEADLINE_SECONDS = 60.0


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--wheel", type=Path, help="default: the one for this machine in dist/, made by `make wheel`")
    parser.add_argument("--starts", type=int, default=5, help="starts of which the median is told")
    parser.add_argument("--rounds", type=int, default=7, help="epochs of each kind")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="presaged-wheel-") as folder:
        work = Path(folder)
        python = environment(work / "venv", arguments.wheel or _newest_wheel())
        with daemon(work, "compiled", port := free_port(), python=python, mdwe=True):
            print("learning and training under MDWE, about two minutes ...", file=sys.stderr)
            wait(port, is_trained)
        with daemon(work, "jit", port := free_port()):
            wait(port, lambda said: said["backend"].startswith("jit") and not said["job"])
        rows = _starts(work, "compiled", arguments.starts, python) + _starts(work, "jit", arguments.starts, None)
        rows += _training(python, arguments.rounds)
    write("wheel", rows, ("numpy", "numba", "pydantic", "aiohttp", "structlog"), as_json=arguments.json)


def _newest_wheel() -> Path:
    wheels = sorted((ROOT / "dist").glob(f"*_{platform.machine()}.whl"), key=lambda path: path.stat().st_mtime)
    if not wheels:
        sys.exit("there is no wheel for this machine in dist/: make wheel")
    return wheels[-1]


def environment(folder: Path, wheel: Path) -> str:
    """Install the wheel and what it needs, Numba excepted, below `folder`; return the path of its Python."""
    print(f"installing {wheel.name} without Numba ...", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / "bin" / "python")
    locked = folder / "runtime.lock"
    locked.write_text(_runtime_lock(), encoding="utf-8")
    pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*pip, "--require-hashes", "-r", locked], check=True, stderr=subprocess.DEVNULL)
    subprocess.run([*pip, wheel], check=True, stderr=subprocess.DEVNULL)
    return python


def _runtime_lock() -> str:
    """Return the lines of the lock that the product needs at run time, without those of `_WITHOUT`."""
    needed: set[str] = set()
    waiting = ["presaged"]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in needed | _WITHOUT:
            continue
        needed.add(name)
        wanted = map(Requirement, metadata.requires(name) or ())
        waiting += [its.name for its in wanted if its.marker is None or its.marker.evaluate({"extra": ""})]
    pins = re.split(r"\n(?=[a-z])", (ROOT / "requirements.lock").read_text(encoding="utf-8"))
    return "\n".join(pin for pin in pins if pin.partition("==")[0] in needed) + "\n"


def _starts(work: Path, backend: str, count: int, python: str | None) -> list[Row]:
    seen = [_start(work, backend, python, later=number == count - 1) for number in range(count)]
    case = "wheel without Numba under MDWE" if python else "JIT in a checkout"
    metrics = {name: median([one[name] for one in seen if name in one]) for name in seen[-1]}
    return [Row(case, name, "MB" if name.startswith("resident") else "s", value) for name, value in metrics.items()]


def _start(work: Path, backend: str, python: str | None, *, later: bool) -> dict[str, float]:
    """Start the daemon on a trained state; return its times and sizes."""
    seen: dict[str, float] = {}
    started = time.time()
    with daemon(work, backend, free_port(), python=python or sys.executable, mdwe=bool(python), log="debug") as process:
        events: set[str] = set()
        with (work / "log.jsonl").open(encoding="utf-8") as log:
            while not events >= {"first_sample", "backend_serves", "memory_released"}:
                for said in map(json.loads, log):
                    events.add(event := said["event"])
                    seconds = datetime.fromisoformat(said["timestamp"]).timestamp() - started
                    if event == "model_on_duty":
                        seen["first inference"] = seconds
                        seen["cpu to the first inference"] = sum(process.cpu_times()[:2])
                    elif event == "first_sample":
                        seen["first scored sample"] = seconds
                    elif event == "memory_released":
                        seen["resident memory, after release"] = process.memory_info().rss / 1e6
                if time.time() - started > _DEADLINE_SECONDS:
                    raise TimeoutError("the daemon did not start")
                time.sleep(0.02)  # looking is a load too: the times stand in the log
        seen["resident memory, peak of the start"] = _peak_mb(process.pid)
        if python and "llvmlite" in Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8"):
            raise RuntimeError("the wheel's daemon has loaded LLVM")
        if later:
            time.sleep(_LATER_SECONDS)
            seen["resident memory, 30 ticks later"] = process.memory_info().rss / 1e6
    return seen


def _peak_mb(pid: int) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    found = re.search(r"VmHWM:\s+(\d+) kB", text)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def _training(python: str, rounds: int) -> list[Row]:
    """Return epochs from the wheel's kernels under MDWE beside the JIT's here, in alternation."""
    rows = []
    with _epochs(python, "compiled", mdwe=True) as (_, ours), _epochs(sys.executable, "jit") as (jit, theirs):
        for name in ("anomaly", "capacity", "failure"):
            for batch in (32, 256):
                pairs = [(ours(name, batch), theirs(name, batch)) for _ in range(rounds + 1)][1:]
                mine, other = (median(seconds) for seconds in zip(*pairs, strict=True))
                case = f"{name} adam batch {batch}"
                rows.append(smaller_is_better(case, "epoch, wheel under MDWE", "s", mine, (f"{jit}, checkout", other)))
    return rows


@contextmanager
def _epochs(python: str, backend: str, *, mdwe: bool = False):  # noqa: ANN202 - a name, and what asks for an epoch
    cache = Path(tempfile.gettempdir()) / "presaged-bench-kernels"
    process = subprocess.Popen(
        [python, "-P", ROOT / "benchmarks" / "epochs.py", backend, cache],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        preexec_fn=deny_write_execute if mdwe else None,  # noqa: PLW1509 - no threads
    )  # fmt: skip
    assert process.stdin and process.stdout  # noqa: S101, PT018 - pipes were asked for
    name = process.stdout.readline().strip()
    if not name.startswith(backend):
        raise RuntimeError(f"{backend} kernels do not serve: {name}")

    def ask(network: str, batch: int) -> float:
        process.stdin.write(f"{network} {batch}\n")  # type: ignore[union-attr]
        return float(process.stdout.readline())  # type: ignore[union-attr]

    try:
        yield name, ask
    finally:
        process.stdin.close()
        process.wait(timeout=10)


if __name__ == "__main__":
    main()
