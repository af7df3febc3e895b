"""`presage backtest`: a real command on a recorded day, and verdicts on what it found, through a real desk."""

import asyncio
import json
import os
import re

import pytest
from office import TOKEN, Office, Team
from recorded import record
from server import Server

from daemon.backtest.source import read_verdicts
from daemon.cli.owner import owner_kept
from daemon.config import Config, Loaded
from daemon.errors import StateError

pytestmark = pytest.mark.timeout(120)

ROWS = 1320

SECTIONS = """
[anomaly]
notify = "{notify}"
learning_days = 0
network_after_samples = 900
"""


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    """Eleven recorded hours with a burst in the afternoon."""
    server = Server(3, days=1, reboot_day=99)
    busy = [place for place, spec in enumerate(server.specs) if spec.name.startswith("network.")]
    server.values[1200:1212, busy] = server.values[1200:1212, busy] * 40 + 5e6
    folder = tmp_path_factory.mktemp("recorded") / "state"
    record(server, folder, most=ROWS)
    return folder


@pytest.fixture
def config(tmp_path, port, day):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    for name in ("history.db", "state.db"):
        (state / name).write_bytes((day / name).read_bytes())
    path = tmp_path / "config.toml"
    path.write_text(
        f'[host]\nname = "web1"\n[storage]\ndirectory = "state"\n[http]\nlisten = "127.0.0.1:{port}"\n'
        + SECTIONS.format(notify="always")
    )
    return path


def test_it_says_first_what_would_have_been_sent(presage, config):
    said = presage("backtest", "--config", config)
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    heads = [line[:10].strip() for line in lines]
    assert heads.index("result") < heads.index("records") < heads.index("budget")
    assert re.search(r"result +\d+ notifications? would have been sent in 0.5 judged days", said.stdout)
    assert "web1: unusual: network." in said.stdout
    assert "presage feedback ID false" in lines[-1]
    assert "learned_from_window" not in said.stdout + said.stderr


def test_nothing_of_the_daemons_own_is_changed(presage, config):
    history = config.parent / "state" / "history.db"
    before = history.read_bytes()
    assert presage("backtest", "--config", config, "--json").returncode == 0
    assert history.read_bytes() == before
    assert {path.name for path in (config.parent / "state").iterdir()} <= {
        *(name + suffix for name in ("history.db", "state.db") for suffix in ("", "-wal", "-shm")),
        "state.reserve",
    }


def test_the_page_is_one_file_and_json_has_the_same(presage, config):
    page = config.parent / "page.html"
    document = json.loads(presage("backtest", "--config", config, "--json", "--html", page).stdout)
    assert document["host"] == "web1"
    assert document["notifications"]
    text = page.read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert document["notifications"][0]["occurrence"][-6:] in text
    assert not re.search(r"(src|href)=[\"']?https?:", text)


def test_a_part_of_the_time(presage, config):
    document = json.loads(presage("backtest", "--config", config, "--json", "--to", "2026-03-01T12:00:00Z").stdout)
    assert (document["from"], document["to"]) == ("2026-03-01T06:00:00.000Z", "2026-03-01T11:59:30.000Z")
    assert document["samples"] == 720


def test_two_configurations_are_compared(presage, config):
    other = config.parent / "other.toml"
    other.write_text(config.read_text().replace('"always"', '"never"'))
    document = json.loads(presage("backtest", "--config", config, "--json", "--compare", other).stdout)
    comparison = document["comparison"]
    assert comparison["other"]["notifications"] == []
    assert len(comparison["only_first"]) >= 1
    assert comparison["only_second"] == []


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--from", "yesterday"], 2, r'"yesterday" is not a time like 2026-11-01'),
        (["--from", "2026-03-02", "--to", "2026-03-01"], 2, "must be later than --from"),
        (["--from", "2027-01-01"], 1, "there is no sample in that time; see `presage status --data`"),
        (["--model", "none"], 1, 'there is no model "none": none has been trained yet'),
        (["--compare", "absent.toml"], 2, r"absent.toml: there is no such file"),
        (["--to", "2026-03-01T08:00:00Z", "--html", "/nowhere/page.html"], 1, "/nowhere/page.html cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_line(presage, config, arguments, code, words):
    said = presage("backtest", "--config", config, *arguments)
    assert said.returncode == code
    assert re.search(words, said.stderr)
    assert "Traceback" not in said.stderr
    assert said.stdout == ""


def test_without_history_it_says_how_to_get_some(presage, config):
    (config.parent / "state" / "history.db").unlink()
    said = presage("backtest", "--config", config)
    assert said.returncode == 1
    assert "there is no history yet; let presaged run for a while, or bring some with `presage import`" in said.stderr
    config.write_text(config.read_text().replace('"state"', '"elsewhere"'))
    assert "there is no such folder; start presaged once" in presage("backtest", "--config", config).stderr


def test_samples_of_another_interval_are_told(presage, config):
    config.write_text(config.read_text() + "[sampling]\ninterval_seconds = 1\n")
    said = presage("backtest", "--config", config)
    assert "the samples are 30 s apart, and the configuration says 1 s" in said.stderr


async def test_verdicts_on_a_backtest_count_and_outlast_the_next_one(presage, config, clock, port):
    ask = lambda *words: asyncio.to_thread(presage, *words, "--config", config)  # noqa: E731
    document = json.loads((await ask("backtest", "--json")).stdout)
    number = document["notifications"][0]["occurrence"]
    state = config.parent / "state"
    (state / "token").write_text(TOKEN + "\n")
    office = await Office(state, clock, (Team(),)).open()
    try:
        await office.serve(f"127.0.0.1:{port}")
        told = await ask("explain", number[-6:])
        assert "network." in told.stdout
        assert "sent to" not in told.stdout  # nobody was
        said = await ask("feedback", number[-6:], "false")
        assert said.returncode == 0, said.stderr
        assert read_verdicts(state) == {number: "false"}
        again = json.loads((await ask("backtest", "--json")).stdout)
        assert [one["occurrence"] for one in again["notifications"]] == [
            one["occurrence"] for one in document["notifications"]
        ]
        assert read_verdicts(state) == {number: "false"}
        assert again["notifications"][0]["verdict"] == "false"
        assert (await ask("explain", number[-6:])).returncode == 0
        assert (await ask("alerts", "--all")).stdout.startswith("none")  # what a replay found did not happen
    finally:
        await office.close()


def test_the_quality_of_what_is_stored(presage, config):
    said = presage("status", "--data", "--config", config)
    assert said.returncode == 0, said.stderr
    assert "1,320 of 1,320 samples, one in 30 s: 100%" in said.stdout
    assert json.loads(presage("status", "--data", "--json", "--config", config).stdout)["samples"] == ROWS


def loaded(folder):
    return Loaded(Config(), (), folder, folder / "cache")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave files of root")
def test_root_leaves_no_file_of_its_own(config):
    state = config.parent / "state"
    state.parent.chmod(0o700)  # as systemd keeps the folder of a dynamic user
    for path in (state, *state.iterdir()):
        os.chown(path, 65534, 65534)
    with owner_kept(loaded(state)):
        (state / "new").touch()
        (config.parent / "mine").touch()
    assert {path.stat().st_uid for path in state.iterdir()} == {65534}
    assert (config.parent / "mine").stat().st_uid == 0


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StateError, match="there is no such folder"), owner_kept(loaded(tmp_path / "none")):
        pass
