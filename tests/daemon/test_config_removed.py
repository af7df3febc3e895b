"""A key that is gone is taken with a warning for one minor version, and then refused with what to write instead."""

import pytest
import structlog

from daemon import config_removed, log
from daemon.cli.configuration import check
from daemon.config import Config, load
from daemon.config_removed import RemovedKey, replace_removed
from daemon.errors import ConfigError

RENAMED = RemovedKey("sampling.every", "0.2", "interval_seconds")
GONE = RemovedKey("anomaly.smoothing", "0.2")
OF_SINKS = RemovedKey("alerting.sinks.address", "0.2", "url")


@pytest.mark.parametrize(
    ("version", "refused"), [("0.2.0", False), ("0.2.9", False), ("0.3.0", True), ("0.10.1", True), ("1.0.0", True)]
)
def test_one_minor_version_long_it_warns(version, refused):
    table = {"sampling": {"every": 10}, "anomaly": {"smoothing": 3, "learning_days": 7}}
    told = replace_removed(table, version, [RENAMED, GONE])
    if refused:
        assert told.warnings == []
        assert told.problems == [
            (("sampling", "every"), "was removed in 0.2; write interval_seconds"),
            (("anomaly", "smoothing"), "was removed in 0.2; leave it out"),
        ]
    else:
        assert told.problems == []
        assert told.warnings == [
            (
                ("sampling", "every"),
                "is gone since 0.2: it is taken for interval_seconds, and from 0.3 on it is refused",
            ),
            (("anomaly", "smoothing"), "is gone since 0.2: it does nothing, and from 0.3 on it is refused"),
        ]
        assert table == {"sampling": {"interval_seconds": 10}, "anomaly": {"learning_days": 7}}


def test_what_is_written_in_todays_key_counts():
    table = {"sampling": {"every": 10, "interval_seconds": 60}}
    replace_removed(table, "0.2.0", [RENAMED])
    assert table == {"sampling": {"interval_seconds": 60}}


@pytest.mark.parametrize("table", [{}, {"sampling": 3}, {"sampling": []}, {"alerting": {"sinks": [1, "x", [2]]}}])
def test_tables_that_are_none_are_left_to_what_checks_them(table):
    before = repr(table)
    told = replace_removed(table, "0.2.0", [RENAMED, OF_SINKS])
    assert (told.warnings, told.problems, repr(table)) == ([], [], before)


@pytest.fixture
def removed(monkeypatch):
    """Let keys be removed in this version, or in the one before it."""

    def at(*keys, version="0.2.4"):
        monkeypatch.setattr(config_removed, "REMOVED", keys)
        monkeypatch.setattr(replace_removed, "__defaults__", (version, None))

    return at


def test_a_file_with_it_is_read_and_the_place_is_told(tmp_path, removed):
    removed(RENAMED, OF_SINKS)
    main, above = tmp_path / "config.toml", tmp_path / "conf.d" / "sink.toml"
    above.parent.mkdir()
    main.write_text("[sampling]\n\nevery = 10\n", encoding="utf-8")
    above.write_text('[[alerting.sinks]]\nname = "a"\ntype = "webhook"\naddress = "http://a/"\n', encoding="utf-8")
    loaded = load(main, {})
    assert loaded.config.sampling.interval_seconds == 10
    assert loaded.config.alerting.sinks[0].url == "http://a/"
    first, second = loaded.warnings
    assert first.startswith(f"{main}:3: sampling.every is gone since 0.2: it is taken for interval_seconds")
    assert second.startswith(f"{above}:4: alerting.sinks.0.address is gone since 0.2: it is taken for url")
    with structlog.testing.capture_logs() as lines:
        log.warn_of_keys(loaded)
    assert [line["log_level"] for line in lines] == ["warning", "warning"]


def test_after_that_it_is_refused_with_everything_else(tmp_path, removed):
    removed(RENAMED, version="0.3.0")
    file = tmp_path / "config.toml"
    file.write_text('[sampling]\nevery = 10\n[host]\nnam = "x"\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert caught.value.problems == [
        f"{file}:2: sampling.every: was removed in 0.2; write interval_seconds",
        f'{file}:4: host.nam: unknown key; did you mean "name"?',
    ]


def test_check_tells_of_it(tmp_path, removed, capsys):
    removed(GONE)
    file = tmp_path / "config.toml"
    file.write_text("[anomaly]\nsmoothing = 3\n", encoding="utf-8")
    check(file)
    warned, verdict = capsys.readouterr().out.splitlines()
    assert warned.startswith(f"{file}:2: anomaly.smoothing is gone since 0.2")
    assert verdict == f"{file}: ok"


def test_no_removed_key_is_one_of_today():
    for one in config_removed.REMOVED:
        model = Config
        *path, name = one.key.split(".")
        for part in path:
            model = model.model_fields[part].annotation
        assert name not in model.model_fields
