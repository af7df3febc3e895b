import json
import os
import sqlite3
import subprocess
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

import pytest
from answered import STATUS

from daemon.cli import doctor
from daemon.config import load
from daemon.dashboard.answers import SelfAnswer
from daemon.host_paths import HostPaths

CHECKS = {
    "python", "packages", "configuration", "state folder", "file system", "state.db", "history.db", "compute",
    "daemon", "application", "failures", "grants", "host", "pressure", "permissions", "clock", "unit",
}  # fmt: skip


@pytest.fixture
def loaded(config):
    return load(config, {})


def only(results):
    (result,) = results
    return result


def test_every_check_runs_on_this_host(presage, config):
    said = presage("doctor", "--json", "--config", config)
    found = json.loads(said.stdout)
    assert said.stderr == ""
    assert {result["check"] for result in found} >= CHECKS
    assert {result["verdict"] for result in found} <= {"ok", "warning", "problem"}
    assert said.returncode == int(any(result["verdict"] == "problem" for result in found))
    assert not any("this check failed" in result["finding"] for result in found)
    assert all(result["remedy"] for result in found if result["verdict"] == "problem")
    assert not (config.parent / "state").exists()


def test_a_healthy_installation_has_no_problem(daemon, presage, config):
    said = presage("doctor", "--config", config)
    assert (said.returncode, said.stderr) == (0, "")
    lines = said.stdout.splitlines()
    assert any(line.startswith("daemon         ok      presaged ") for line in lines)
    assert any(line.startswith("state.db       ok      intact") for line in lines)
    assert any(line.startswith("history.db     ok      intact") for line in lines)


def test_a_bad_configuration_hides_no_other_check(presage, config):
    config.write_text("[sampling]\ninterval_seconds = -1\n")
    said = presage("doctor", "--json", "--config", config)
    found = {result["check"]: result for result in json.loads(said.stdout)}
    assert (said.returncode, said.stderr) == (1, "")
    assert set(found) == CHECKS | {"boot id"}
    assert found["configuration"]["verdict"] == "problem"
    assert f"{config}:2" in found["configuration"]["finding"]
    assert found["state folder"]["finding"].startswith("not checked")


def test_a_check_that_fails_hides_no_other(monkeypatch, config):
    def fail(_paths):
        raise RuntimeError("surprise")

    monkeypatch.setitem(doctor._HOST, "pressure", fail)
    found = {result.check: result for result in doctor.examine(config)}
    assert found["pressure"].finding == "this check failed: RuntimeError: surprise"
    assert found["pressure"].verdict == "problem"
    assert "unit" in found


def test_a_package_of_another_distribution_is_a_problem(monkeypatch):
    owners = {"daemon": ["python-daemon", "presaged"], "detectors": ["presaged"]}
    monkeypatch.setattr(metadata, "packages_distributions", lambda: owners)
    result = only(doctor.check_packages())
    assert (result.verdict, result.finding) == ("problem", "the package daemon belongs to python-daemon too")
    assert "pipx" in result.remedy


def test_the_state_folder(loaded, tmp_path):
    folder = tmp_path / "state"
    assert only(doctor.check_state_folder(loaded)).finding == f"{folder} does not exist yet; presaged makes it"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    result = only(doctor.check_state_folder(loaded))
    assert (result.verdict, result.remedy) == ("warning", f"chmod 700 {folder}")
    folder.chmod(0o700)
    assert only(doctor.check_state_folder(loaded)).verdict == "ok"
    folder.rmdir()
    folder.write_text("")
    result = only(doctor.check_state_folder(loaded))
    assert (result.verdict, result.finding) == ("problem", f"{folder} is a file")


@pytest.mark.parametrize(
    ("kind", "free", "expected"),
    [
        ("ext4", 10**11, ("ok", "ext4, 100.0 GB free")),
        ("nfs4", 10**11, ("warning", "network")),
        ("fuse.sshfs", 10**11, ("warning", "network")),
        ("tmpfs", 10**11, ("warning", "lost at a restart")),
        ("overlay", 10**11, ("warning", "lost with the container")),
        ("xfs", 10**8, ("warning", "0.1 GB free")),
        ("xfs", 10**7, ("problem", "0.0 GB free")),
    ],
)
def test_the_file_system(monkeypatch, loaded, kind, free, expected):
    verdict, words = expected
    monkeypatch.setattr(doctor, "_file_system", lambda _folder: kind)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _folder: type("Usage", (), {"free": free}))
    result = only(doctor.check_file_system(loaded))
    assert result.verdict == verdict
    assert words in result.finding
    assert bool(result.remedy) == (verdict != "ok")


def test_the_type_of_a_file_system_is_that_of_its_mount():
    assert doctor._file_system(Path("/proc/self")) == "proc"
    assert doctor._file_system(Path("/")) != "unknown"


@pytest.fixture
def database(loaded):
    path = loaded.state_directory / "state.db"
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("CREATE TABLE t (x)")
    connection.executemany("INSERT INTO t VALUES (?)", [(f"{number}" * 50,) for number in range(2000)])
    connection.commit()
    connection.close()
    return path


def test_an_intact_database_is_left_as_it_is(loaded, database):
    before = database.read_bytes()
    assert only(doctor.check_database("state.db", loaded)).finding.startswith("intact, ")
    assert database.read_bytes() == before
    assert list(database.parent.iterdir()) == [database]


def test_a_damaged_database_is_a_problem(loaded, database):
    content = bytearray(database.read_bytes())
    content[8192:20_480] = b"\xa5" * 12_288
    database.write_bytes(content)
    result = only(doctor.check_database("state.db", loaded))
    assert result.verdict == "problem"
    assert "restore state.db from a copy" in result.remedy


def test_a_file_that_is_no_database_is_a_problem(loaded, database):
    database.with_name("history.db").write_text("no database at all" * 100)
    result = only(doctor.check_database("history.db", loaded))
    assert (result.verdict, "not a database" in result.finding) == ("problem", True)
    assert "sets the file aside" in result.remedy


def test_a_database_that_takes_long_is_cut_short(monkeypatch, loaded, database):
    monkeypatch.setattr(doctor, "_DATABASE_SECONDS", -1.0)
    assert only(doctor.check_database("state.db", loaded)).finding.startswith("nothing wrong in the first")


def test_compute_as_configured(loaded):
    assert only(doctor.check_compute(loaded)).finding == "NumPy, as [compute] backend asks for"


@pytest.fixture
def with_numba(config):
    config.write_text(config.read_text().replace('"numpy"', '"auto"'))
    return load(config, {})


def test_numba_is_tried_in_a_child(with_numba):
    cache, compute = doctor.check_compute(with_numba)
    assert "not compiled yet" in cache.finding
    assert (compute.verdict, compute.finding) == ("ok", "NumPy, until Numba's kernels are compiled")


def test_a_numba_that_cannot_serve_is_a_warning(monkeypatch, with_numba):
    monkeypatch.setattr(doctor, "_PROBE", "import sys; sys.exit('boom')")
    _, compute = doctor.check_compute(with_numba)
    assert (compute.verdict, compute.finding) == ("warning", "NumPy serves, Numba cannot: boom")


def test_a_numba_that_hangs_is_a_warning(monkeypatch, with_numba):
    def hang(*_arguments, **_options):
        raise subprocess.TimeoutExpired("python", 60)

    monkeypatch.setattr(doctor.subprocess, "run", hang)
    assert "did not load within 60 s" in only(doctor.check_compute(with_numba)).finding


def test_another_server_on_the_port_is_a_problem(loaded, foreign):
    foreign(200, b"hello")
    result = only(doctor.check_listener(loaded))
    assert (result.verdict, "is not this presaged" in result.finding) == ("problem", True)


def test_a_free_port_is_no_problem(loaded, port):
    result = only(doctor.check_listener(loaded))
    assert (result.verdict, result.finding) == ("warning", f"does not run; 127.0.0.1:{port} is free")


def test_a_daemon_that_is_short_of_room_or_takes_much_is_told(monkeypatch, loaded):
    since = f"{datetime.now(UTC) - timedelta(hours=2):%Y-%m-%dT%H:%M:%SZ}"
    told = {"started_at": since, "degraded": {"disk": "database or disk is full: history has a gap"}}

    def found(cpu, resident, **more):
        status = STATUS.model_copy(update={**told, **more})
        monkeypatch.setattr(doctor, "fetch_status", lambda _: (status, b""))
        cost = SelfAnswer.model_construct(cpu_ratio=cpu, resident_bytes=resident)
        monkeypatch.setattr(doctor, "fetch_cost", lambda _: cost)
        first, *others = doctor.check_listener(loaded)
        assert (first.verdict, first.remedy) == ("ok", "")
        assert all(one.verdict == "warning" and one.remedy for one in others)
        return [one.finding for one in others]

    short = "short of disk: database or disk is full: history has a gap"
    assert found(0.002, 90_000_000) == [short]
    assert found(0.2, 400_000_000) == [short, "takes 20 % of a processor", "takes 400 MB of memory"]
    assert found(None, None, degraded={}) == []
    assert found(0.2, 90_000_000, degraded={}, started_at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}") == []  # a start


def test_the_clock(monkeypatch, tmp_path):
    mark = tmp_path / "synchronized"
    mark.touch()
    monkeypatch.setattr(doctor, "_SYNCHRONIZED", mark)
    boot, clock = doctor.check_clock(HostPaths())
    assert (boot.verdict, len(boot.finding)) == ("ok", 36)
    assert clock.verdict == "ok"
    monkeypatch.setattr(doctor, "_SYNCHRONIZED", tmp_path / "none")
    assert doctor.check_clock(HostPaths())[1].verdict in {"ok", "warning"}


def test_applications_tell_what_is_listed_of_them_or_what_is_wrong(config, tmp_path):
    result = only(doctor.check_applications(load(config, {})))
    assert (result.verdict, result.finding) == ("ok", "none is configured (optional)")
    (tmp_path / "shop.prom").write_text("depth 1\n")
    config.write_text(
        "".join(
            f"[[collectors.application]]\nname = '{name}'\ndirectory = '{tmp_path / folder}'\nmetrics = {metrics}\n"
            for name, folder, metrics in (
                ("shop", "", ["depth"]),
                ("till", "", ["depth", "age"]),
                ("gone", "gone", ["depth"]),
            )
        )
    )
    shop, till, gone = doctor.check_applications(load(config, {}))
    assert (shop.verdict, shop.finding) == ("ok", "shop: 1 of 1 metrics")
    assert (till.verdict, till.finding, till.remedy.partition(":")[0]) == ("warning", "till: 1 of 2 metrics", "age")
    assert (gone.verdict, gone.finding) == ("warning", f"gone: {tmp_path}/gone: No such file or directory")


@pytest.mark.parametrize(
    ("source", "problem", "said"),
    [
        ("journal", "/x is not ours to read: it takes the group systemd-journal", "the group systemd-journal"),
        ("journal", "this host keeps no journal", "Storage= in journald.conf"),
        ("journal", "journalctl is not installed", "in the image of a container too"),
        ("memory", "this kernel does not count its kills", "kills are not counted"),
        ("smartd", "smartd leaves no state", "(optional"),
    ],
)
def test_failures_that_cannot_be_seen_come_with_what_would_help(loaded, foreign, source, problem, said):
    sources = [{"name": source, "problem": problem}, {"name": "another", "problem": ""}]
    foreign(200, json.dumps({"failures": [], "sources": sources}).encode())
    (result,) = doctor.check_failures(loaded)
    assert result.verdict == ("ok" if source == "smartd" else "warning")
    assert problem in result.finding
    assert said in f"{result.finding} {result.remedy}"


def test_file_systems_that_a_container_is_not_shown_are_told(tmp_path):
    paths = HostPaths(tmp_path / "proc", tmp_path / "sys", tmp_path)
    here = tmp_path.stat().st_dev
    device = f"{os.major(here)}:{os.minor(here)}"
    (tmp_path / "proc" / "1").mkdir(parents=True)
    table = tmp_path / "proc" / "1" / "mountinfo"
    table.write_text(f"1 1 {device} / / rw - ext4 /dev/sda1 rw\n")
    (result,) = doctor.check_paths(paths)
    assert (result.verdict, "1 file systems" in result.finding) == ("ok", True)
    (tmp_path / "srv").mkdir()
    with table.open("a") as file:
        file.write("2 1 7:9999 / /srv rw - ext4 /dev/sdb1 rw\n3 1 7:9998 / /gone rw - ext4 /dev/sdc1 rw\n")
    (result,) = doctor.check_paths(paths)
    assert (result.verdict, result.finding) == ("warning", f"not seen below {tmp_path}: /srv, /gone")
    assert "HostToContainer" in result.remedy
    assert list(doctor.check_paths(HostPaths())) == []


def test_a_container_beside_the_hosts_own_unit_is_told(tmp_path):
    paths = HostPaths(tmp_path / "proc", tmp_path / "sys", tmp_path)
    assert only(doctor.check_unit(paths)).verdict == "ok"
    (tmp_path / "sys/fs/cgroup/system.slice/presaged.service").mkdir(parents=True)
    assert "twice" in only(doctor.check_unit(paths)).finding


def test_failures_of_a_host_on_which_all_is_seen(loaded, foreign):
    foreign(200, json.dumps({"failures": [], "sources": [{"name": "journal", "problem": ""}]}).encode())
    (result,) = doctor.check_failures(loaded)
    assert result.verdict == "ok"


def test_failures_are_not_checked_without_a_daemon(loaded):
    (result,) = doctor.check_failures(loaded)
    assert (result.verdict, result.finding) == ("warning", "not checked: presaged does not run")
