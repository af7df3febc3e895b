"""The package's own files: control, scripts, checksums, and that nothing tells where it was built."""

import shutil
import subprocess
from pathlib import Path

import pytest

from daemon.config import Config, load
from deb import __main__ as deb
from deb import tree

SCRIPTS = sorted((tree.ROOT / "deb/scripts").iterdir())


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_shell_that_stops_at_an_error(script):
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    assert "\nset -e\n" in script.read_text()


def test_the_configuration_that_is_installed_is_valid_and_all_default(tmp_path):
    tree._service(tmp_path)
    loaded = load(tmp_path / "etc/presaged/config.toml", {})
    assert loaded.config == Config()
    assert (tmp_path / "lib/systemd/system/presaged.service").read_text().startswith("[Unit]")


def test_the_environment_runs_the_distributions_python_alone(tmp_path):
    prefix = tmp_path / tree.PREFIX
    prefix.mkdir(parents=True)
    tree._environment(prefix)
    assert (prefix / "bin/python3").readlink() == Path(f"/usr/bin/{tree.PYTHON}")
    assert (prefix / "bin/presage").read_text().startswith("#!/opt/presaged/bin/python3 -I\n")
    assert (prefix / "bin/presaged").read_text().startswith("#!/opt/presaged/bin/python3 -IOO\n")
    assert (tmp_path / "usr/bin/presaged").readlink() == Path("/opt/presaged/bin/presaged")
    assert str(tmp_path) not in (prefix / "pyvenv.cfg").read_text()


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is not here")
def test_the_control_file_is_one_and_the_same_tree_gives_the_same_bytes(tmp_path):
    made = []
    for number in range(2):
        root = tmp_path / f"root{number}"
        (root / "etc/presaged").mkdir(parents=True)
        (root / "etc/presaged/config.toml").write_text("config_version = 1\n")
        (root / "usr/bin").mkdir(parents=True)
        (root / "usr/bin/presage").write_text("#!/bin/sh\n")
        (root / "usr/bin/presage").chmod(0o700)
        words = {
            "version": "1.2",
            "architecture": "amd64",
            "kilobytes": 3,
            "python": "python3.11",
            "prefix": "opt/presaged",
        }
        deb._control(root, deb._CONTROL.format(**words))
        deb._settle(root, 1_700_000_000)
        package = tmp_path / f"{number}.deb"
        tree.run(["dpkg-deb", "--root-owner-group", "-Zzstd", "-b", root, package], SOURCE_DATE_EPOCH="1700000000")
        made.append(package)
    assert made[0].read_bytes() == made[1].read_bytes()
    fields = tree.run(["dpkg-deb", "--field", made[0], "Package", "Depends"])
    assert "Package: presaged\nDepends: python3.11, libc6" in fields
    contents = tree.run(["dpkg-deb", "--contents", made[0]])
    assert "-rwxr-xr-x root/root" in contents
    assert "2023-11-14" in contents


def test_a_trace_of_the_machine_is_refused(tmp_path):
    (tmp_path / "file").write_bytes(b"\0nothing\0")
    tree._refuse_traces(tmp_path)
    (tmp_path / "file").write_bytes(b"\0" + str(tree.ROOT).encode() + b"/daemon\0")
    with pytest.raises(tree.PackageError, match=f"file holds {tree.ROOT}"):
        tree._refuse_traces(tmp_path)


def test_sums_can_be_checked(tmp_path):
    (tmp_path / "one.deb").write_text("1")
    (tmp_path / "two.whl").write_text("2")
    for _ in range(2):  # the second does not sum up the first
        deb.write_sums(tmp_path)
    done = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "one.deb: OK\ntwo.whl: OK\n"


def test_without_a_wheel_it_says_what_makes_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["deb", str(tmp_path)])
    assert deb.main() == 1
    assert "`make wheel` makes it" in capsys.readouterr().err


def test_a_wheel_without_kernels_is_refused(tmp_path):
    with pytest.raises(tree.PackageError, match="no kernels"):
        deb.make(Path("presaged-1.0-py3-none-any.whl"), tmp_path, time_seconds=0)
