"""The bundle for strangers, and all of the data for its owner."""

import json
import sqlite3
import stat
import sys
import tarfile
from contextlib import closing

import pytest

from daemon import cli

PLANTED = "pl4nted-Zq81-never-told"


@pytest.fixture
def typed(monkeypatch, capsys, config):
    """Type a command in this process, and return its exit code and what it printed."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["presage", *map(str, words), "--config", str(config)])
        code = cli.main()
        out, error = capsys.readouterr()
        return code, out, error

    return run


def members(file):
    with tarfile.open(file) as archive:
        return {one.name.partition("/")[2]: archive.extractfile(one).read().decode() for one in archive if one.isfile()}


def test_a_bundle_of_a_running_daemon_has_all_and_no_secret(typed, daemon, config, tmp_path):
    (tmp_path / "hook").write_text(f"https://hooks.example/{PLANTED}")
    with config.open("a") as file:
        file.write(
            '[[alerting.sinks]]\nname = "team"\ntype = "webhook"\nurl_file = "hook"\n[host]\nname = "10.1.2.3"\n'
        )
    with (tmp_path / "conf.d.toml").open("w") as file:
        file.write(PLANTED)
    code, out, error = typed("support-bundle", "-o", tmp_path / "b.tar.gz")
    assert (code, error) == (0, "")
    assert "look into it before you give it away" in out
    assert stat.S_IMODE((tmp_path / "b.tar.gz").stat().st_mode) == 0o600
    found = members(tmp_path / "b.tar.gz")
    assert set(found) == {
        "README", "config.toml", "doctor.json", "status.json", "failures.json", "metrics.txt", "log.txt",
        "versions.json",
    }  # fmt: skip
    status = json.loads(found["status.json"])
    assert status["samples"] >= 1
    assert "presaged_samples_total" in found["metrics.txt"]
    versions = json.loads(found["versions.json"])
    assert versions["schemas"].keys() == {"history.db", "state.db"}
    assert all(isinstance(one, int) for one in versions["schemas"].values())
    assert any(one["check"] == "configuration" for one in json.loads(found["doctor.json"]))
    token = (tmp_path / "state" / "token").read_text().strip()
    everything = "".join(found.values())
    for secret in (PLANTED, token, "10.1.2.3"):
        assert secret not in everything, secret
    for name in found:
        assert name == "README" or f"{name}: " in found["README"]


def test_a_bundle_without_a_daemon_says_what_is_not_to_be_had(typed, tmp_path):
    code, _, error = typed("support-bundle", "-o", tmp_path / "b.tar.gz")
    assert (code, error) == (0, "")
    found = members(tmp_path / "b.tar.gz")
    assert found["status.json"].startswith("not to be had: nothing runs on")
    assert "[sampling]" in found["config.toml"]


def test_a_bundle_of_a_bad_configuration_says_what_is_bad(typed, config, tmp_path):
    config.write_text("[http]\nlisten = 5\n")
    code, _, error = typed("support-bundle", "-o", tmp_path / "b.tar.gz")
    assert (code, error) == (0, "")
    assert "http.listen" in members(tmp_path / "b.tar.gz")["config.toml"]


def test_a_bundle_that_cannot_be_written_is_one_line(typed, tmp_path):
    code, _, error = typed("support-bundle", "-o", tmp_path / "none" / "b.tar.gz")
    assert (code, error.count("\n")) == (1, 1)
    assert "No such file" in error


def test_all_data_is_exported_while_the_daemon_runs_and_not_purged_under_it(typed, daemon, tmp_path):
    code, out, error = typed("data", "export", tmp_path / "all.tar.gz")
    assert (code, error) == (0, ""), error
    assert "readable by you alone" in out
    with tarfile.open(tmp_path / "all.tar.gz") as archive:
        archive.extractall(tmp_path / "out", filter="data")
    for name, table in (("history.db", "samples"), ("state.db", "signals")):
        with closing(sqlite3.connect(tmp_path / "out/presaged-data" / name)) as database:
            assert database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] >= 1
    names = {path.name for path in (tmp_path / "out").rglob("*")}
    assert not names & {"token", "links.key", "machine", "lock"}
    code, _, error = typed("data", "purge", "--yes")
    assert (code, error.count("\n")) == (1, 1)
    assert "presaged is running" in error
    assert (tmp_path / "state" / "history.db").exists()


def test_a_purge_deletes_what_is_ours_and_nothing_else(typed, tmp_path):
    state = tmp_path / "state"
    (state / "models" / "anomaly").mkdir(parents=True)
    for name in ("history.db", "history.db-wal", "state.db", "token", "models/anomaly/champion", "thesis.txt"):
        (state / name).write_text("x")
    assert typed("data", "purge")[0] == 2  # nobody is there to ask
    assert (state / "history.db").exists()
    code, out, error = typed("data", "purge", "--yes")
    assert (code, error) == (0, "")
    assert "deleted 5 files" in out
    assert sorted(path.name for path in state.iterdir()) == ["lock", "thesis.txt"]
    code, _, error = typed("data", "purge", "--yes")
    assert (code, error.count("\n")) == (1, 1)
    assert "holds nothing of presaged" in error
