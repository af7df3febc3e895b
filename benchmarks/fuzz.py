"""Hostile input for every parser that reads what others wrote: `python -m benchmarks.fuzz [--inputs N] [--seed S]`.

Enters: texts that are right, as seeds. Leaves: how many of the inputs made from them each parser took, how many it
refused as it says it does, the slowest, and every other exception, which is a crash: exit code 1. Inputs are seeds with
bits flipped, pieces taken out, doubled or exchanged, and numbers and signs put in that parsers stumble over; half of
those of JSON are JSON still, with other values in it, so that what lies behind the first parser is reached too. A
million takes about ten minutes on one core; a short slice of it is among the tests.
"""

import argparse
import copy
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from alerting.errors import AlertingError
from alerting.redact import redacted
from alerting.sinks.base import Notification
from alerting.sinks.post import Post
from alerting.sinks.reading import read
from benchmarks.report import Row, write
from daemon.collectors import CollectorContext, build_collectors
from daemon.collectors.base import HostPaths
from daemon.collectors.errors import ErrorCounts
from daemon.config import load, render_default
from daemon.errors import PresagedError
from daemon.exposition import figures
from daemon.failures.families import ErrorPatterns
from daemon.failures.journal import beginning, parse
from daemon.failures.kernel_log import KernelLog
from daemon.imports.text import read_csv, read_openmetrics
from daemon.models.questions import PredictBatchRequest, PredictRequest
from daemon.models.routes import TrainRequest
from daemon.sampler import Sampler
from daemon.web.alert_answers import FeedbackRequest, SilenceRequest
from daemon.web.api import MarkRequest
from detectors.model_file import ARRAYS, MANIFEST, ModelError, load_network

ODD = (
    b"", b"\x00", b"\xff", b"\xc3", b"-", b"0", b"-1", b"1e999", b"NaN", b"inf", b"9" * 25, b"9" * 400, b"-0.0",
    b"18446744073709551616", b"9223372036854775808", b"4294967296", b"\n", b"\r\n", b" ", b"\t", b'"', b"\\", b"'",
    b"{", b"}", b"[", b"]", b"[" * 2000, b'{"a":' * 500, b",", b":", b"=", b"/", b"../", b"%s%n", b"null", b"true",
    b"\\ud800",
    b"\xed\xa0\x80", b"\xe2\x80\xae", b"\x1b[31m", b"A" * 5000, b"#", b"(", b")", b"1970-01-01T00:00:00Z",
)  # fmt: skip
ODD_VALUES: tuple[object, ...] = (
    None, True, False, 0, -1, 0.5, 1e308, float("nan"), float("inf"), 2**31, 2**63, 2**64, -(2**63) - 1, 10**400, "",
    "0", "\x00", "\x1b[31m", "\ud800", "\u202e", "A" * 5000, "../../token", "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z", [], {}, [[]], [0] * 1000, {"": ""}, ["a", None],
)  # fmt: skip
COLLECTED = ("cpu", "memory", "pressure", "disk", "network", "tcp", "kernel", "process", "limits")
PROC = (
    "stat", "meminfo", "vmstat", "loadavg", "diskstats", "net/dev", "net/snmp", "net/netstat", "net/sockstat",
    "net/sockstat6", "pressure/cpu", "pressure/memory", "pressure/io", "sys/fs/file-nr", "sys/kernel/pid_max",
    "sys/kernel/threads-max", "uptime", "swaps", "mounts", "net/route", "sys/net/netfilter/nf_conntrack_count",
)  # fmt: skip
METRICS = ("http_requests_total", "queue_depth", "latency_seconds", "temp_ratio")
SHARES = {"config": 1, "api bodies": 24, "model files": 3, "proc": 8, "application metrics": 24, "imports": 4,
          "webhook answers": 12, "notifications": 8, "journal lines": 16}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Parser:
    """What reads an input: `refusals` are the exceptions by which it says that it does not take one."""

    seeds: Sequence[bytes]
    run: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]


@dataclass(slots=True)
class Tally:
    """What became of the inputs of one parser."""

    inputs: int = 0
    refused: int = 0
    slowest: float = 0.0
    crashes: dict[str, bytes] = field(default_factory=dict)


def mutated(seed: bytes, others: Sequence[bytes], rng: random.Random) -> bytes:
    """Return `seed` with one to six changes."""
    text = bytearray(seed)
    for _ in range(rng.randint(1, 6)):
        place = rng.randrange(len(text) + 1)
        match rng.randrange(7):
            case 0 if text:
                text[min(place, len(text) - 1)] ^= 1 << rng.randrange(8)
            case 1:
                del text[place : place + rng.randint(1, 30)]
            case 2:
                text[place:place] = text[place : place + rng.randint(1, 200)]
            case 3:
                text[place:place] = rng.choice(ODD)
            case 4:
                other = rng.choice(others)
                at = rng.randrange(len(other) + 1)
                text[place : place + rng.randint(0, 40)] = other[at : at + rng.randint(1, 80)]
            case 5:
                digits = [at for at in range(place, min(place + 200, len(text))) if 0x30 <= text[at] <= 0x39]
                if digits:
                    at = rng.choice(digits)
                    text[at : at + 1] = rng.choice(ODD)
            case _:
                del text[place:]
    return bytes(text[:200_000])


def reshaped(seed: bytes, rng: random.Random) -> bytes | None:
    """Return a JSON `seed` with one to three values exchanged or taken out, None where it is no JSON."""
    try:
        whole: object = [json.loads(seed)]
    except ValueError:
        return None
    for _ in range(rng.randint(1, 3)):
        places = list(_places(whole))
        inside, key = rng.choice(places)
        if rng.randrange(5) and inside is not whole:
            inside[key] = copy.deepcopy(rng.choice(ODD_VALUES))
        elif len(places) > 1 and inside is not whole:
            del inside[key]
    return json.dumps(whole).encode()[1:-1]


def _places(value: object) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])  # type: ignore[index]


def attack(parser: Parser, inputs: int, rng: random.Random) -> Tally:
    """Give the parser so many inputs."""
    tally = Tally(inputs)
    for _ in range(inputs):
        seed = rng.choice(parser.seeds)
        given = (reshaped(seed, rng) if rng.randrange(2) else None) or mutated(seed, parser.seeds, rng)
        began = time.perf_counter()
        try:
            parser.run(given)
        except parser.refusals:
            tally.refused += 1
        except Exception as error:  # noqa: BLE001 - what it is here for
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            where = f"{Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else "?"
            tally.crashes.setdefault(f"{type(error).__name__} at {where}: {str(error)[:100]}", given)
        tally.slowest = max(tally.slowest, time.perf_counter() - began)
    return tally


def parsers(folder: Path) -> dict[str, Parser]:
    """Return every parser by name; `folder` is theirs."""
    return {
        "config": _config(folder),
        "api bodies": _bodies(),
        "model files": _models(folder),
        "proc": _proc(folder),
        "application metrics": _metrics(),
        "imports": _imports(folder),
        "webhook answers": _answers(),
        "notifications": _notifications(),
        "journal lines": _journal(folder),
    }


def _config(folder: Path) -> Parser:
    file = folder / "fuzzed.toml"
    small = b'[http]\nlisten = "[::1]:1"\n[[alerting.sinks]]\nname = "a"\ntype = "webhook"\nurl = "http://x/"\n'

    def run(given: bytes) -> None:
        file.write_bytes(given)
        load(file, {})

    return Parser((render_default().encode(), small, small), run, (PresagedError,))


def _bodies() -> Parser:
    models: tuple[type[BaseModel], ...] = (
        MarkRequest, FeedbackRequest, SilenceRequest, PredictRequest, PredictBatchRequest, TrainRequest,
    )  # fmt: skip
    seeds = (
        b'{"text": "deploy 42"}',
        b'{"verdict": "false", "author": "ann", "comment": "no"}',
        b'{"matchers": {"alertname": "Resource*", "resource": "/srv"}, "seconds": 7200, "author": "ann"}',
        b'{"starts_at": "2026-03-01T06:00:00Z", "ends_at": "2026-03-01T08:00:00Z", "comment": "x", "author": "a"}',
        b'{"network": "anomaly", "inputs": [0.5, -1, 1e3, null]}',
        b'[{"network": "capacity", "inputs": [[1, 2], [3, 4]]}, {"network": "failure", "inputs": []}]',
        b'{"network": "failure", "reason": "by hand"}',
    )

    def run(given: bytes) -> None:
        refused = 0
        for model in models:
            try:
                model.model_validate_json(given)
            except ValidationError as error:
                refused += 1
                error.errors(include_url=False, include_context=False, include_input=False)
        if refused == len(models):
            raise ModelError("by all")

    return Parser(seeds, run, (ModelError,))


def _models(folder: Path) -> Parser:
    """Manifests whose digest is right for what they say: what lies behind it is to be reached."""
    shipped = Path(__file__).parent.parent / "detectors/pretrained/failure/network"
    arrays = (shipped / ARRAYS).read_bytes()
    model = folder / "model"
    model.mkdir()
    (model / ARRAYS).write_bytes(arrays)

    def run(given: bytes) -> None:
        if not given.startswith(b"{"):  # a file of numbers, with a manifest that vouches for it
            record = json.loads((shipped / MANIFEST).read_bytes())
            (model / ARRAYS).write_bytes(given)
            record["sha256"] = hashlib.sha256(given).hexdigest()
            (model / MANIFEST).write_text(json.dumps(record))
        else:
            (model / ARRAYS).write_bytes(arrays)
            with suppress(ValueError, RecursionError):
                record = json.loads(given)
                told = {key: value for key, value in record.items() if key not in ("manifest_sha256", "sha256")}
                record["manifest_sha256"] = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
                given = json.dumps(record).encode()
            (model / MANIFEST).write_bytes(given)
        load_network(model)

    return Parser(((shipped / MANIFEST).read_bytes(), arrays[:4000]), run, (ModelError,))


def _proc(folder: Path) -> Parser:
    """One file of a /proc like this host's is another at each round; the collectors go on over all of it.

    The first line of an input names the file; one that names none is for each in turn.
    """
    proc = folder / "proc"
    whole: dict[Path, bytes] = {}
    for name in PROC:
        with suppress(OSError):
            path = proc / name
            path.parent.mkdir(parents=True, exist_ok=True)
            whole[path] = (Path("/proc") / name).read_bytes()[:20_000]
            path.write_bytes(whole[path])
    (proc / "1").mkdir()
    paths = HostPaths(proc=proc, sys=Path("/sys"), root=folder)
    disabled = {"filesystem", "latency", "unit", "changes", "errors", "self", "application", "temperature"}
    context = CollectorContext(paths=paths, gap_seconds=60.0, disabled=frozenset(disabled))
    sampler = Sampler([one for one in build_collectors(context) if one.name in COLLECTED])
    files, seconds = list(whole), [0]
    named = {str(path.relative_to(proc)).encode(): path for path in files}

    def run(given: bytes) -> None:
        seconds[0] += 1
        name, _, content = given.partition(b"\n")
        path = named.get(name, files[seconds[0] % len(files)])
        path.write_bytes(content)
        told = sampler.collect(seconds[0] * 10**9)
        path.write_bytes(whole[path])
        for spec, value in told.measured:
            spec.name.encode("utf-8", "strict")
            if not isinstance(value, float):
                raise TypeError(f"{spec.name} is no number")
        if any(one.problem for one in told.states):
            raise ModelError("by some")

    return Parser([name + b"\n" + whole[path] for name, path in named.items()], run, (ModelError,))


def _metrics() -> Parser:
    seed = (
        b"# HELP queue_depth Waiting.\n# TYPE queue_depth gauge\nqueue_depth 5\n# TYPE http_requests_total counter\n"
        b'http_requests_total{code="200",path="/a\\"b"} 1027 1395066363000\nhttp_requests_total{code="500"} 3\n'
        b"# TYPE latency_seconds histogram\nlatency_seconds_sum 5.5\nlatency_seconds_count 7\ntemp_ratio 1e-3\n"
    )
    return Parser((seed, seed[:90]), lambda given: figures(given, METRICS, 0.0), (ValueError,))


def _imports(folder: Path) -> Parser:
    file = folder / "imported"
    csv = (
        b"time,cpu.busy,disk.sda.read_bytes_per_second\n1772344800,0.5,1e6\n"
        b"2026-03-01T06:00:30Z,nan,-\n1772344860,1,2\n"
    )
    metrics = (
        b'node_cpu_seconds_total{cpu="0",mode="idle"} 17.25 1772344800.000\n'
        b'node_cpu_seconds_total{cpu="0",mode="idle"} 27.25 1772344830.000\nnode_load1 0.5 1772344800\n# EOF\n'
    )

    def run(given: bytes) -> None:
        file.write_bytes(given)
        if given.startswith(b"time"):
            list(read_csv(file))
        else:
            list(read_openmetrics(file, gap_seconds=300.0))

    return Parser((csv, metrics), run, (PresagedError,))


def _answers() -> Parser:
    """What receivers answer, in the way the sinks judge it: a status, Retry-After and the body."""
    post = Post("sink a", "https://hooks.example/T0/a-secret-of-the-hook", user_agent="fuzz", timeout_seconds=1.0)

    def run(given: bytes) -> None:
        head, _, body = given.partition(b"\n")
        status, _, again = head.partition(b" ")
        number = int(status) if status.isdigit() and len(status) == 3 else 200
        said = post._judged(number, again.decode("latin-1"), body)  # noqa: SLF001
        if not said.isprintable() or "a-secret-of-the-hook" in said:
            raise RuntimeError(f"it quotes {said!r}")

    seeds = (
        b"200 \nok",
        b"429 120\nslow down",
        b"503 Wed, 21 Oct 2026 07:28:00 GMT\n<html>no /T0/a-secret-of-the-hook here</html>",
        b"400 \ninvalid_payload",
    )
    return Parser(seeds, run, (AlertingError,))


def _notifications() -> Parser:
    seed = json.dumps(
        {
            "event": "firing", "host": "web1", "sentence": "web1: /srv is full", "count": 2, "group_firing": 1,
            "contributors": [{"signal": "cpu.busy", "unit": "ratio", "value": 0.9, "expected_low": 0.1,
                              "expected_high": 0.3, "direction": "rising"}],
            "culprits": [{"unit": "a.service", "process": "a", "share": 0.5, "usual_share": 0.1, "resource": "cpu"}],
            "also": [{"event": "resolved", "sentence": "x", "severity": "info"}], "commands": {"ack": "presage ack"},
            "change": {"at": "2026-03-01T06:00:00Z", "text": "deploy"}, "links": {},
        }
    ).encode()  # fmt: skip

    def run(given: bytes) -> None:
        told = read(Notification("01", given.decode("utf-8", "replace")))
        if not (told.summary + told.sentence + "".join((*told.contributors, *told.culprits))).isprintable():
            raise RuntimeError("it is not one printable line")

    return Parser((seed,), run, (AlertingError,))


def _journal(folder: Path) -> Parser:
    log = KernelLog(paths=HostPaths(proc=folder / "proc", sys=folder, root=folder), redact=redacted)
    patterns = ErrorPatterns(ErrorCounts(lambda: ""), redacted)
    messages = (
        "Out of memory: Killed process 4711 (java) total-vm:1kB, anon-rss:2048kB, file-rss:0kB",
        "EXT4-fs (sda1): Remounting filesystem read-only",
        "blk_update_request: I/O error, dev sda, sector 123 op 0x0:(READ)",
        "INFO: task dd:12 blocked for more than 120 seconds.",
        "mce: [Hardware Error]: Machine check events logged",
        "write failed: No space left on device password=hunter2 from 10.0.0.1",
        "oom-kill:constraint=CONSTRAINT_MEMCG,task_memcg=/system.slice/a.service,task=java,pid=4711,uid=0",
    )
    seeds = [
        json.dumps(
            {
                "__CURSOR": "s=1;i=2", "__REALTIME_TIMESTAMP": "1772344800000000", "PRIORITY": "3", "MESSAGE": message,
                "_TRANSPORT": transport, "SYSLOG_IDENTIFIER": "kernel", "_SYSTEMD_UNIT": "a.service",
            }
        ).encode()
        for message in messages
        for transport in ("kernel", "journal")
    ]  # fmt: skip
    seeds.append(b'{"__CURSOR":"s","__REALTIME_TIMESTAMP":"1","MESSAGE":[72,105,255,0],"PRIORITY":["3","4"]}')

    def run(given: bytes) -> None:
        entry = parse(given)
        if entry is None:
            raise ModelError("no entry")
        beginning(entry.time_ms)
        report = log.report(entry)
        patterns.take([entry])
        for one in (report.detail, report.resource) if report else ():
            if not one.isprintable():
                raise RuntimeError(f"it tells {one!r}")

    return Parser(seeds, run, (ModelError,))


def main() -> int:
    """Attack every parser, and print what came of it."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--inputs", type=int, default=1_000_000, help="how many in all")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--only", choices=sorted(SHARES), help="one parser alone")
    asked.add_argument("--json", action="store_true")
    given = asked.parse_args()
    names = [given.only] if given.only else list(SHARES)
    rows, crashed = [], False
    with tempfile.TemporaryDirectory() as folder:
        made = parsers(Path(folder))
        for name in names:
            inputs = given.inputs * SHARES[name] // sum(SHARES[one] for one in names)
            tally = attack(made[name], inputs, random.Random(f"{given.seed} {name}"))  # noqa: S311 - a run that can be repeated
            rows += [
                Row(name, "inputs", "inputs", tally.inputs),
                Row(name, "refused", "inputs", tally.refused),
                Row(name, "crashes", "kinds", len(tally.crashes)),
                Row(name, "slowest", "ms", tally.slowest * 1e3),
            ]
            for words, culprit in tally.crashes.items():
                crashed = True
                print(f"{name}: {words}\n    {culprit[:300]!r}", file=sys.stderr)
    write("fuzz", rows, ("pydantic", "numpy", "safetensors"), as_json=given.json)
    return int(crashed)


if __name__ == "__main__":
    sys.exit(main())
