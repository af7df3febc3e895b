import os
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import collectors, config
from daemon.config import Config, discover, load, render_default, split_address, toml_value
from daemon.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
SINK = '[[alerting.sinks]]\nname = "team"\ntype = "webhook"\n'


@pytest.fixture
def file(tmp_path):
    return tmp_path / "config.toml"


@pytest.fixture
def problems(file):
    """Load a text as the configuration and return what is wrong with it, without the file's name."""

    def of(text):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            load(file, {})
        return [problem.replace(str(file), "FILE") for problem in caught.value.problems]

    return of


CASES = {
    "unknown key": (
        "[sampling]\ninterval_second = 5\n",
        'FILE:2: sampling.interval_second: unknown key; did you mean "interval_seconds"?',
    ),
    "unknown key, none near": ("[host]\nzzz = 5\n", "FILE:2: host.zzz: unknown key; known here: name"),
    "unknown table": ("[samplin]\nx = 1\n", 'FILE:1: samplin: unknown key; did you mean "sampling"?'),
    "key that breaks lines": (
        '[host]\n"a\\nb" = 1\n',
        'FILE:1: host."a\\nb": unknown key; known here: name',
    ),
    "text for a number": (
        '[sampling]\n\ninterval_seconds = "5"\n',
        'FILE:3: sampling.interval_seconds: must be a whole number, not "5"',
    ),
    "fraction for a whole number": (
        "[anomaly]\nlearning_days = 7.5\n",
        "FILE:2: anomaly.learning_days: must be a whole number, not 7.5",
    ),
    "truth value for a number": (
        "[anomaly]\nlearning_days = true\n",
        "FILE:2: anomaly.learning_days: must be a whole number, not true",
    ),
    "number for a text": ("[host]\nname = 5\n", "FILE:2: host.name: must be a string, not 5"),
    "value for a table": ("host = 5\n", "FILE:1: host: must be a table, not 5"),
    "text for an array": ('[collectors]\ndisable = "cpu"\n', 'FILE:2: collectors.disable: must be an array, not "cpu"'),
    "negative interval": (
        "sampling.interval_seconds = -1\n",
        "FILE:1: sampling.interval_seconds: must be greater than or equal to 1, not -1",
    ),
    "not a number": (
        "[anomaly]\nepisodes_per_week = nan\n",
        "FILE:2: anomaly.episodes_per_week: must be less than or equal to 1000, not nan",
    ),
    "one of several words": (
        '[anomaly]\nnotify = "sometimes"\n',
        'FILE:2: anomaly.notify: must be "with_impact", "always" or "never", not "sometimes"',
    ),
    "version": ("config_version = 2\n", "FILE:1: config_version: must be 1, not 2"),
    "unknown collector": (
        '[collectors]\ndisable = ["cpu", "memry"]\n',
        'FILE:2: collectors.disable: there is no collector "memry"; did you mean "memory"?',
    ),
    "latency target": (
        '[collectors.latency]\ntargets = ["db.internal"]\n',
        'FILE:2: collectors.latency.targets: "db.internal" is not "host:port"',
    ),
    "latency target, digits of another script": (
        '[collectors.latency]\ntargets = ["db:²"]\n',
        'FILE:2: collectors.latency.targets: "db:²" is not "host:port"',
    ),
    "more than half free": (
        "[capacity]\nfree_floor_ratio = 2\n",
        "FILE:2: capacity.free_floor_ratio: must be less than or equal to 0.5, not 2",
    ),
    "speed of a link as text": (
        '[capacity]\nlink_bytes_per_second = { eth0 = "1G" }\n',
        'FILE:2: capacity.link_bytes_per_second.eth0: must be a number, not "1G"',
    ),
    "speed of a link that is none": (
        "[capacity.link_bytes_per_second]\neth0 = 125000000\neth1 = -1\n",
        'FILE:1: capacity.link_bytes_per_second: "eth1" has no such speed; 1 Gbit/s is 125000000',
    ),
    "unknown key of capacity": (
        '[capacity]\nexclud = ["/mnt/*"]\n',
        'FILE:2: capacity.exclud: unknown key; did you mean "exclude"?',
    ),
    "listen": (
        '[http]\nlisten = "9736"\n',
        'FILE:2: http.listen: "9736" is not "address:port", like "127.0.0.1:9736"',
    ),
    "sinks of one name": (
        f'{SINK}url = "http://a/"\n{SINK}url = "http://b/"\n',
        'FILE:1: alerting.sinks: two sinks are named "team"',
    ),
    "second sink without a url": (
        f'{SINK}url = "http://a/"\n\n[[alerting.sinks]]\nname = "b"\ntype = "webhook"\n',
        "FILE:6: alerting.sinks.1: give either url or url_file",
    ),
    "key of the second sink": (
        f'{SINK}url = "http://a/"\n[[alerting.sinks]]\nname = "b"\nurl = "http://b/"\ntype = "slak"\n',
        'FILE:8: alerting.sinks.1.type: must be "webhook", "slack", "alertmanager", "pagerduty", "apprise", "journal"'
        ' or "stdout", not "slak"',
    ),
    "sink without a name": (
        '[[alerting.sinks]]\ntype = "webhook"\nurl = "http://a/"\n',
        "FILE:1: alerting.sinks.0.name: is missing and has no default",
    ),
    "sink of another scheme": (
        f'{SINK}url = "ftp://a/"\n',
        'FILE:1: alerting.sinks.0: url must begin with "http://" or "https://", not "ftp://"',
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_problem_has_its_place_and_remedy(problems, case):
    text, message = CASES[case]
    assert problems(text) == [message]


@pytest.mark.parametrize("url", ["https://me:hunter2@host/x", "me:hunter2@host/x", "hunter2://me@host", "hunter2"])
def test_a_password_in_a_url_is_refused_and_never_shown(problems, url):
    (problem,) = problems(f'{SINK}url = "{url}"\n')
    assert problem.startswith("FILE:1: alerting.sinks.0: ")
    assert "hunter2" not in problem or url.startswith("hunter2://")  # a scheme is no secret


def test_a_password_in_a_url_is_told_where_to_go(problems):
    assert problems(f'{SINK}url = "https://me:hunter2@host/x"\n') == [
        "FILE:1: alerting.sinks.0: the url holds a password: put the whole url into a file and name it in url_file"
    ]


def test_a_value_under_an_unknown_key_is_never_shown(problems):
    (problem,) = problems(f'{SINK}url = "http://a/"\ntoken = "hunter2"\n')
    assert problem == 'FILE:5: alerting.sinks.0.token: unknown key; did you mean "token_file"?'


def test_all_problems_are_told_at_once(problems, file):
    found = problems('[sampling]\ninterval_seconds = -1\n[host]\nnam = "x"\n')
    assert found == [
        'FILE:4: host.nam: unknown key; did you mean "name"?',
        "FILE:2: sampling.interval_seconds: must be greater than or equal to 1, not -1",
    ]
    with pytest.raises(ConfigError, match=r"^2 problems:\n  .*\n  .*$"):
        load(file, {})


def test_broken_toml_has_its_line(problems):
    (problem,) = problems("[host\n")
    assert problem.startswith("FILE: this is not TOML: ")
    assert "line 1" in problem


def test_bytes_that_are_no_text(file):
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="this is not TOML"):
        load(file, {})


def test_deep_nesting_is_refused(problems):
    assert problems(f"x = {'[' * 10_000}{']' * 10_000}\n") == ["FILE: this is nested too deeply"]


def test_a_missing_file_says_who_named_it(tmp_path):
    missing = tmp_path / "none.toml"
    with pytest.raises(ConfigError) as named:
        discover(missing, {})
    with pytest.raises(ConfigError) as inherited:
        discover(None, {"PRESAGED_CONFIG": str(missing)})
    assert named.value.problems == [f"{missing}: there is no such file (named by --config)"]
    assert inherited.value.problems == [f"{missing}: there is no such file (named by $PRESAGED_CONFIG)"]


def test_a_folder_that_may_not_be_entered_is_told(monkeypatch, tmp_path):
    def refuse(_self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(ConfigError, match=r"a\.toml: cannot be read: Permission denied"):
        discover(tmp_path / "a.toml", {})


def test_discovery_prefers_the_option_then_the_environment_then_the_system(tmp_path, monkeypatch):
    option, environment, system = (tmp_path / name for name in ("o.toml", "e.toml", "s.toml"))
    for path in (option, environment, system):
        path.write_text("")
    monkeypatch.setattr(config, "SYSTEM_FILE", system)
    assert discover(option, {"PRESAGED_CONFIG": str(environment)}) == [option]
    assert discover(None, {"PRESAGED_CONFIG": str(environment)}) == [environment]
    assert discover(None, {"PRESAGED_CONFIG": ""}) == [system]
    system.unlink()
    assert discover(None, {}) == []


def test_the_working_directory_is_never_read(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "SYSTEM_FILE", tmp_path / "none.toml")
    monkeypatch.chdir(tmp_path)
    Path("config.toml").write_text("[host]\nname = 'trap'\n")
    assert load(None, {}).config == Config()


def test_files_are_laid_over_each_other_in_order(file):
    parts = file.parent / "conf.d"
    parts.mkdir()
    file.write_text('[host]\nname = "main"\n[sampling]\ninterval_seconds = 1\n[log]\nlevel = "debug"\n')
    local = file.with_name("config.local.toml")
    local.write_text('[host]\nname = "local"\n[sampling]\ninterval_seconds = 2\n')
    (parts / "10-a.toml").write_text("[sampling]\ninterval_seconds = 3\n")
    (parts / "20-b.toml").write_text("sampling.interval_seconds = 4\n")
    (parts / ".#20-b.toml").symlink_to("an editor's lock")
    (parts / "30-c.txt").write_text("no TOML")
    loaded = load(file, {})
    assert loaded.files == (file, local, parts / "10-a.toml", parts / "20-b.toml")
    assert (loaded.config.host.name, loaded.config.sampling.interval_seconds) == ("local", 4)
    assert loaded.config.log.level == "debug"


def test_an_array_is_replaced_whole_and_the_last_file_is_blamed(file):
    file.write_text('[collectors]\ndisable = ["cpu", "disk"]\n[sampling]\ninterval_seconds = 0\n')
    local = file.with_name("config.local.toml")
    local.write_text('[collectors]\ndisable = ["tcp"]\n')
    with pytest.raises(ConfigError, match=r"config\.toml:4: sampling"):
        load(file, {})
    local.write_text('[collectors]\ndisable = ["tcp"]\n[sampling]\ninterval_seconds = 7\n')
    assert load(file, {}).config.collectors.disable == ("tcp",)
    local.write_text("[sampling]\ninterval_seconds = -7\n")
    with pytest.raises(ConfigError, match=r"config\.local\.toml:2: sampling"):
        load(file, {})


def test_the_state_folder_is_relative_to_the_file_else_systemds(file):
    file.write_text('[storage]\ndirectory = "state"\n')
    assert load(file, {"STATE_DIRECTORY": "/x"}).state_directory == file.parent / "state"
    file.write_text("")
    loaded = load(file, {"STATE_DIRECTORY": "/x:/y", "CACHE_DIRECTORY": "/c:/d"})
    assert (loaded.state_directory, loaded.cache_directory) == (Path("/x"), Path("/c"))
    assert load(file, {}).state_directory == Path("/var/lib/presaged")


def test_the_names_of_collectors_are_those_of_the_collectors():
    assert config.COLLECTOR_NAMES == collectors.NAMES


def test_the_default_file_is_the_defaults(file):
    file.write_text(render_default())
    assert load(file, {}).config == Config()


def test_the_default_file_names_every_key():
    def keys(table, path=()):
        for key, value in table.items():
            yield from keys(value, (*path, key)) if isinstance(value, dict) else [(*path, key)]

    expected = set(keys(Config().model_dump(mode="json")))
    repeated = {("alerting", name) for name in ("sinks", "routes", "maintenance")} | {("collectors", "application")}
    assert set(keys(tomllib.loads(render_default()))) == expected - repeated
    for section, name in repeated:
        assert f"# [[{section}.{name}]]" in render_default()


def test_the_repositorys_file_is_generated():
    assert (REPOSITORY / "config.toml").read_text(encoding="utf-8") == render_default()


@pytest.mark.parametrize(
    ("listen", "expected"),
    [("127.0.0.1:9736", ("127.0.0.1", 9736)), ("[::1]:0", ("::1", 0)), ("localhost:65535", ("localhost", 65_535))],
)
def test_an_address_is_split(listen, expected):
    assert split_address(listen) == expected


@pytest.mark.parametrize("listen", ["", ":80", "host", "host:", "host:65536", "host:-1", "host:٣", "host:1e3"])
def test_what_is_no_address_is_refused(listen):
    with pytest.raises(ValueError, match="is not"):
        split_address(listen)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_toml(text):
    assert tomllib.loads(f"x = {toml_value(text)}") == {"x": text}


LEAVES = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.text(max_size=20), st.dates(), st.sampled_from(["cpu", "1.2.3.4:5"])
)
KEYS = st.one_of(st.sampled_from(["name", "url", "sinks", "listen", "disable", "latency", "targets"]), st.text())
TREES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)), max_leaves=8
)
DOCUMENTS = st.dictionaries(st.one_of(st.sampled_from(list(Config.model_fields)), st.text()), TREES, max_size=5)


@given(DOCUMENTS)
def test_any_document_is_a_configuration_or_a_config_error(tmp_path_factory, document):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("", encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(config.tomllib, "loads", lambda _text: document)
        problems = []
        try:
            load(path, {})
        except ConfigError as error:
            problems = error.problems
    assert not any("\n" in problem for problem in problems)


# presaged itself: nothing is created before all is known to be good. Root is held to permissions like anybody.
ORDINARY = (
    ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search"]
    if os.geteuid() == 0 and shutil.which("setpriv")
    else []
)


@pytest.fixture
def refused(file):
    """Start presaged with a configuration that cannot work and return the one message of it."""

    def start(text, *, name="config.toml"):
        path = file.with_name(name)
        path.write_text(text, encoding="utf-8")
        before = sorted(file.parent.rglob("*"))
        answer = subprocess.run(
            [*ORDINARY, sys.executable, "-P", "-m", "daemon", "--config", str(path)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd="/",
            env={key: value for key, value in os.environ.items() if not key.endswith("_DIRECTORY")},
        )
        assert answer.returncode == 2, answer.stderr
        assert answer.stdout == ""
        assert sorted(file.parent.rglob("*")) == before
        return answer.stderr.replace(str(path), "FILE")

    return start


STATE = '[storage]\ndirectory = "state"\n[http]\nlisten = "127.0.0.1:0"\n'


def test_presaged_refuses_every_bad_key_at_once(refused):
    text = f'{STATE}[sampling]\ninterval_seconds = -1\n[host]\nnam = "x"\n[anomaly]\nlearning_days = "7"\n'
    assert refused(text) == (
        "presaged: cannot start: 3 problems:\n"
        '  FILE:8: host.nam: unknown key; did you mean "name"?\n'
        "  FILE:6: sampling.interval_seconds: must be greater than or equal to 1, not -1\n"
        '  FILE:10: anomaly.learning_days: must be a whole number, not "7"\n'
    )


def test_presaged_refuses_a_state_folder_that_is_a_file_and_a_taken_port_at_once(refused, file):
    file.with_name("taken").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        text = f'[storage]\ndirectory = "taken/state"\n[http]\nlisten = "{listen}"\n'
        assert refused(text) == (
            "presaged: cannot start: 2 problems:\n"
            f"  storage.directory: {file.with_name('taken')} is a file; give a folder\n"
            f"  http.listen: {listen}: Address already in use; another program listens there; choose another port\n"
        )


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write anywhere")
def test_presaged_refuses_a_state_folder_that_it_may_not_write(refused, file):
    closed = file.with_name("closed")
    closed.mkdir(mode=0o500)
    assert refused('[storage]\ndirectory = "closed/state"\n[http]\nlisten = "127.0.0.1:0"\n') == (
        "presaged: cannot start: 1 problem:\n"
        f"  storage.directory: {closed}/state: no permission to write in {closed}; give a folder of your own\n"
    )


def test_presaged_refuses_a_host_that_is_none(refused):
    assert "http.listen" in refused(f'[storage]\ndirectory = "s"\n[http]\nlisten = "{"a" * 70}:1"\n')


def test_presaged_refuses_a_sink_whose_secret_is_missing(refused, file):
    said = refused(f'{STATE}{SINK}url_file = "hook"\n')
    assert f"alerting.sinks.0 (team): {file.with_name('hook')}: No such file or directory" in said
