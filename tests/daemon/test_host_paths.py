import os
import time

import pytest

from daemon.errors import ConfigError
from daemon.host_paths import HostPaths, find_host, keep_time_of


@pytest.fixture
def root(tmp_path):
    """A host's root as far as it is looked at."""
    for folder in ("etc", "proc/1", "sys/class"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc" / "stat").touch()
    return tmp_path


@pytest.fixture
def zone(monkeypatch):
    monkeypatch.delenv("TZ", raising=False)
    yield
    os.environ.pop("TZ", None)
    time.tzset()


def test_without_a_word_it_is_where_we_are(monkeypatch):
    for name in ("PRESAGED_ROOT_FS", "PRESAGED_PROC"):
        monkeypatch.delenv(name, raising=False)
    assert find_host() == HostPaths()
    assert not find_host().is_elsewhere


def test_a_root_brings_its_proc_and_its_sys(root, monkeypatch):
    assert find_host(root) == HostPaths(root / "proc", root / "sys", root)
    monkeypatch.setenv("PRESAGED_ROOT_FS", str(root))
    assert find_host() == find_host(root)
    assert find_host().is_elsewhere


def test_the_first_process_may_be_hidden(root):
    (root / "proc" / "1").rmdir()
    assert find_host(root).proc == root / "proc"


def test_its_proc_may_be_elsewhere_and_what_is_given_wins(root, tmp_path, monkeypatch):
    other = tmp_path / "other"
    (root / "proc").rename(other)
    monkeypatch.setenv("PRESAGED_PROC", "/nowhere")
    assert find_host(root, other).proc == other


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("etc", "--root-fs: {} is not the root"),
        ("proc", "--proc: {}/proc is not"),
        ("sys", "--root-fs: {}/sys is empty"),
    ],
)
def test_what_is_not_mounted_is_told(root, gone, said):
    (root / gone).rename(root / "away")
    with pytest.raises(ConfigError) as error:
        find_host(root)
    (problem,) = error.value.problems
    assert problem.startswith(said.format(root))


@pytest.mark.usefixtures("zone")
def test_the_hours_are_those_of_the_host(root):
    zones = root / "usr" / "share" / "zoneinfo" / "Far"
    zones.mkdir(parents=True)
    (zones / "Away").write_bytes(_seven_hours_ahead())
    (root / "etc" / "localtime").symlink_to("/usr/share/zoneinfo/Far/Away")  # absolute: it leads nowhere from here
    keep_time_of(find_host(root))
    assert time.localtime().tm_gmtoff == 7 * 3600


@pytest.mark.usefixtures("zone")
def test_a_zone_of_our_own_stays(root, monkeypatch):
    before = time.localtime().tm_gmtoff
    keep_time_of(HostPaths())
    keep_time_of(find_host(root))  # without /etc/localtime: UTC, or what we have
    assert "TZ" not in os.environ
    (root / "etc" / "localtime").write_bytes(_seven_hours_ahead())
    monkeypatch.setenv("TZ", "UTC")
    keep_time_of(find_host(root))
    assert os.environ["TZ"] == "UTC"
    assert time.localtime().tm_gmtoff == before


def _seven_hours_ahead():
    """The smallest file of tzfile(5), version 1: no transition, one kind of time."""
    counts = (0, 0, 0, 0, 1, 4)
    head = b"TZif\0" + bytes(15) + b"".join(count.to_bytes(4, "big") for count in counts)
    return head + (7 * 3600).to_bytes(4, "big") + b"\0\0" + b"FAR\0"
