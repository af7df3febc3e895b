import json
import subprocess
import sys
import tomllib

import pytest
from typer.testing import CliRunner

from daemon import __version__
from daemon.cli import app
from daemon.config import Config, render_default


@pytest.fixture
def invoke():
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_help_names_every_command_and_has_examples(invoke):
    said = invoke("--help")
    assert said.exit_code == 0
    for word in (
        "status",
        "doctor",
        "changes",
        "mark-change",
        "alerts",
        "explain",
        "ack",
        "feedback",
        "drill",
        "silence",
        "sinks",
        "config",
        "--version",
        "--install-completion",
        "Examples:\n",
        "Answer an alert:",
        "presage status",
    ):
        assert word in said.output


def test_version(invoke):
    assert invoke("--version").output == f"presage {__version__}\n"


@pytest.mark.parametrize("group", [(), ("config",), ("models",), ("silence",)])
def test_without_a_command_there_is_help(presage, group):
    said = presage(*group)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith(" ".join(["Usage: presage", *group]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stats"], "presage: No such command 'stats'. Did you mean 'status'? (see `presage --help`)\n"),
        (["status", "--jsn"], "presage: No such option: --jsn"),
        (["status", "extra"], "presage: Got unexpected extra argument"),
        (["status", "--config"], "presage: Option '--config' requires an argument. (see `presage --help`)\n"),
    ],
)
def test_misuse_is_one_line(presage, arguments, message):
    said = presage(*arguments)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith(message)
    assert said.stderr.count("\n") == 1


def test_a_reader_that_leaves_is_no_error(environment):
    program = "import sys; from daemon.cli import main; sys.exit(main())"
    command = f'"{sys.executable}" -P -c "{program}" config default | head -n 1'
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, env=environment)
    assert (said.stdout, said.stderr) == (render_default().partition("\n")[0] + "\n", "")


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        (["--help"], ("pydantic", "http.client", "daemon.config", "numpy", "asyncio")),
        (["--version"], ("pydantic", "daemon.config", "numpy", "asyncio")),
        (["status", "--help"], ("numpy", "numba", "aiohttp", "structlog", "asyncio", "daemon.web.alert_answers")),
    ],
)
def test_it_starts_without_the_weight_of_what_is_not_asked(words, heavy):
    program = (
        "import sys; from daemon.cli import main\n"
        f"sys.argv = ['presage', *{words!r}]; main()\n"
        f"print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)"
    )
    said = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True)
    assert said.stderr == "[]\n"


@pytest.mark.parametrize("command", [("status",), ("config", "check"), ("config", "show")])
def test_a_bad_configuration_is_told_as_presaged_tells_it(presage, config, command):
    config.write_text('[sampling]\ninterval_seconds = -1\n[host]\nnam = "x"\n')
    said = presage(*command, "--config", config)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr == (
        "presage: 2 problems:\n"
        f'  {config}:4: host.nam: unknown key; did you mean "name"?\n'
        f"  {config}:2: sampling.interval_seconds: must be greater than or equal to 1, not -1\n"
    )


def test_check_names_the_files(invoke, config):
    assert invoke("config", "check", "--config", config).output == f"{config}: ok\n"
    local = config.with_name("config.local.toml")
    local.write_text("")
    said = invoke("config", "check", "--config", config)
    assert (said.exit_code, said.output) == (0, f"{config}: ok, with {local} laid over it\n")


def test_show_is_the_effective_configuration_and_its_origins(invoke, config):
    local = config.with_name("config.local.toml")
    local.write_text(
        '[host]\nname = "a \\"b\\" \\\\ c"\n'
        '[[alerting.sinks]]\nname = "x"\ntype = "webhook"\nurl = "http://x/"\n'
        '[[alerting.sinks]]\nname = "y"\ntype = "webhook"\nurl_file = "y"\n'
    )
    text = invoke("config", "show", "--config", config).output
    shown = Config.model_validate(_tuples(tomllib.loads(text)))
    assert (shown.host.name, shown.sampling.interval_seconds) == ('a "b" \\ c', 1)
    assert [sink.name for sink in shown.alerting.sinks] == ["x", "y"]
    lines = text.splitlines()
    assert f"interval_seconds = 1  # {config}" in lines
    assert f"[[alerting.sinks]]  # {local}" in lines
    assert 'level = "info"' in lines


def _tuples(value):
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def test_show_json_is_one_object(invoke, config):
    shown = json.loads(invoke("config", "show", "--json", "--config", config).output)
    assert shown["sampling"] == {"interval_seconds": 1}
    assert set(shown) == set(Config.model_fields)


def test_default_is_the_generated_file(invoke):
    assert invoke("config", "default").output == render_default()
