"""`presage forecast` against a server that answers as the daemon does."""

import io
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from rich.console import Console

from daemon.cli.client import fetch_forecasts
from daemon.cli.forecast import REACH, Ahead, chosen, named, print_forecasts, rows
from daemon.config import load
from daemon.errors import DaemonError
from daemon.web.forecast_answers import ForecastAnswer, ForecastsAnswer
from detectors import exhaustion

NOW, DAY = 1_772_344_800_000, 86_400_000
STEPS = {"hours": 3600.0, "days": 86_400.0, "months": 30.4375 * 86_400.0}
WITHIN = ("4h", "24h", "7d", "30d", "365d")
NAMES = ["/", "/var", "/var inodes", "/srv", "cpu", "memory", "eth0 receive", "eth0 transmit"]


def horizon(name, first=None, each=0.0, *, needs=""):
    """Bands of 2 % around a line, or what is lacking for any."""
    step_ms = round(STEPS[name] * 1000)
    mean = [] if needs else [min(1.0, first + each * at) for at in range(1, 13)]
    return {
        "name": name,
        "step_seconds": STEPS[name],
        "needs": needs,
        "methods": [] if needs else ["theta, seasonal", "drift"],
        "start_ms": None if needs else NOW + step_ms,
        "mean": mean,
        "lo80": [one - 0.02 for one in mean],
        "hi80": [min(1.0, one + 0.02) for one in mean],
        "lo95": [one - 0.03 for one in mean],
        "hi95": [min(1.0, one + 0.03) for one in mean],
        "history": [] if needs else [[NOW + at * step_ms, first + each * at] for at in range(-30, 1)],
        "accuracy": None if needs else {"forecasts": 40, "mase": 0.814, "coverage80": 0.79, "coverage95": 0.94},
    }


def resource(name, text, chances=(0.0, 0.0, 0.0, 0.0, 0.0), horizons=(), **more):
    return {
        "resource": name,
        "kind": "storage",
        "unit": "bytes",
        "capacity": 1e11,
        "floor_ratio": 0.02,
        "used_ratio": 0.71,
        "made_ms": NOW,
        "exhaustion": {
            "probability": dict(zip(WITHIN, chances, strict=True)),
            "lo80_ms": None,
            "median_ms": None,
            "hi80_ms": None,
            "text": text,
        },
        "explanation": [],
        "horizons": list(horizons),
    } | more


MISSING = [horizon("hours", needs="needs 3 more hours")]
MISSING += [horizon(name, needs="needs 9 more days") for name in ("days", "months")]
VAR = resource(
    "/var",
    "full in 9 days (80 %: 7 to 12)",
    (0.0, 0.004, 0.3, 0.97, 1.0),
    [horizon("hours", 0.71, 0.001), horizon("days", 0.71, 0.03), horizon("months", needs="needs 7 more months")],
    explanation=["grows by 1.2 GiB a day", "40 GiB were cleaned up 2 days ago"],
)
VAR["exhaustion"] |= {"lo80_ms": NOW + 7 * DAY, "median_ms": NOW + 9 * DAY, "hi80_ms": NOW + 12 * DAY}
CPU = resource(
    "cpu",
    "never at this rate",
    horizons=[horizon("hours", 0.4), horizon("months", 0.4)],
    unit="ratio",
    kind="cpu",
    floor_ratio=0.0,
)
NEW = resource("/new", "nothing known yet", horizons=MISSING)
INODES = resource("/var inodes", "never at this rate", horizons=[horizon("days", 0.2)], unit="ratio", kind="inodes")
EVERY = [VAR, INODES, CPU, NEW]


@pytest.fixture
def forecasts(port):
    """Start a server that has the given resources, and return what it is asked; `problem` as the daemon says it."""
    servers = []

    def start(resources, problem=""):
        asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                url = urlsplit(self.path)
                asked.append(self.path)
                wanted = parse_qs(url.query).get("resource")
                found = [one for one in resources if wanted in (None, [one["resource"]])]
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"forecasts": found, "problem": problem}).encode())

            def log_message(self, *_arguments):
                pass

        server = HTTPServer(("127.0.0.1", port), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        servers.append((server, thread))
        return asked

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_all_resources_are_a_table(presage, config, forecasts):
    asked = forecasts(EVERY)
    said = presage("forecast", "--config", config)
    assert (said.returncode, said.stderr) == (0, "")
    assert [line.rstrip() for line in said.stdout.splitlines()] == [
        "resource     used  full                       24 h   7 d  30 d",
        "/var         71 %  in 9 days (80 %: 7 to 12)  <1 %  30 %  97 %",
        "/var inodes  71 %  never at this rate          0 %   0 %   0 %",
        "cpu          71 %  never at this rate          0 %   0 %   0 %",
        "/new         71 %  needs 3 more hours",
    ]
    assert asked == ["/api/v1/forecasts"]


def test_one_resource_has_its_picture(presage, config, forecasts):
    asked = forecasts(EVERY)
    said = presage("forecast", "/VAR", "--config", config)
    assert (said.returncode, said.stderr) == (0, "")
    lines = said.stdout.splitlines()
    assert lines[:6] == [
        "resource   /var (storage): 71 % of 93 GiB used",
        "outlook    full in 9 days (80 %: 7 to 12); less than 2 % free counts as full",
        "chance     0 % in 4 h, <1 % in 24 h, 30 % in 7 d, 97 % in 30 d, 100 % in 365 d",
        "because    grows by 1.2 GiB a day",
        "           40 GiB were cleaned up 2 days ago",
        "lacking    months (needs 7 more months)",
    ]
    assert lines[7] == "12 days ahead, by theta, seasonal; drift"
    assert lines[8].startswith("93 GiB  100 % \u2502")
    assert "\u25c6" in said.stdout
    assert lines[-1] == (
        "accuracy   of its forecasts of the last 40 days here: MASE 0.81,"
        " 79 % inside the 80 % band, 94 % inside the 95 % band"
    )
    assert "\x1b" not in said.stdout
    assert asked[-1] == "/api/v1/forecasts?resource=%2Fvar"


def test_without_any_history_it_says_what_is_needed(presage, config, forecasts):
    forecasts(EVERY)
    said = presage("forecast", "/new", "--config", config)
    assert said.stdout.splitlines() == [
        "resource   /new (storage): 71 % of 93 GiB used",
        "outlook    needs 3 more hours; less than 2 % free counts as full",
        "lacking    hours (needs 3 more hours), days (needs 9 more days), months (needs 9 more days)",
    ]


def test_what_is_being_filled_is_told_before_there_is_a_forecast(presage, config, forecasts):
    forecasts([resource("/new", "full in 20 min", (0.95, 1.0, 1.0, 1.0, 1.0), MISSING)])
    said = presage("forecast", "--config", config).stdout.splitlines()
    assert said[1] == "/new      71 %  in 20 min  100 %  100 %  100 %"


def test_beyond_the_farthest_forecast_nothing_is_claimed(presage, config, forecasts):
    assert REACH == exhaustion.REACH
    hours = resource("/new", "not within 36 h", horizons=[horizon("hours", 0.2), *MISSING[1:]])
    forecasts([hours])
    assert presage("forecast", "--config", config).stdout.splitlines()[1] == "/new      71 %  not within 36 h   0 %"
    said = presage("forecast", "/new", "--config", config).stdout.splitlines()
    assert said[2] == "chance     0 % in 4 h, 0 % in 24 h"


def test_a_horizon_can_be_asked_for(presage, config, forecasts):
    forecasts(EVERY)
    both = presage("forecast", "/var", "--horizon", "all", "--config", config).stdout
    assert [line for line in both.splitlines() if "ahead" in line] == [
        "12 hours ahead, by theta, seasonal; drift",
        "12 days ahead, by theta, seasonal; drift",
    ]
    lacking = presage("forecast", "/var", "--horizon", "months", "--config", config).stdout
    assert lacking.splitlines()[-1] == "months     needs 7 more months"
    assert presage("forecast", "--horizon", "years", "--config", config).returncode == 2


def test_a_terminal_without_unicode_gets_ascii(presage, config, forecasts, environment):
    forecasts(EVERY)
    environment["PYTHONIOENCODING"] = "ascii"
    said = presage("forecast", "cpu", "--config", config)
    assert said.returncode == 0
    assert said.stdout.isascii()
    assert "* was   o median" in said.stdout


def test_json_is_the_answer_as_it_is(presage, config, forecasts):
    forecasts(EVERY, problem="no weights")
    assert json.loads(presage("forecast", "--json", "--config", config).stdout) == {
        "forecasts": EVERY,
        "problem": "no weights",
    }
    assert json.loads(presage("forecast", "cpu", "--json", "--config", config).stdout)["forecasts"] == [CPU]


def test_a_problem_of_the_forecaster_is_told(presage, config, forecasts):
    forecasts(EVERY, problem="the model file is corrupt: simple forecasts serve\x1b[2J")
    assert presage("forecast", "--config", config).stdout.splitlines()[-1] == (
        "the model file is corrupt: simple forecasts serve [2J"
    )


def test_no_resource_yet(presage, config, forecasts):
    forecasts([])
    assert presage("forecast", "--config", config).stdout == "no resource is known yet\n"
    said = presage("forecast", "/var", "--config", config)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == "presage: there is no resource yet: the first forecasts follow the first samples\n"


def test_an_unknown_resource_names_the_nearest(presage, config, forecasts):
    forecasts(EVERY)
    said = presage("forecast", "/vra", "--config", config)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr == 'presage: there is no resource "/vra"; the nearest is /var\n'


def test_a_resource_that_has_gone_meanwhile_is_told_in_the_words_of_the_daemon(daemon, config):
    with pytest.raises(DaemonError, match='there is no resource "/vra"') as error:
        fetch_forecasts(load(config), "/vra")
    assert "{" not in str(error.value)


def test_the_real_daemon_says_what_it_needs(daemon, presage, config):
    until = time.monotonic() + 20
    while not fetch_forecasts(load(config), "memory")[0].forecasts[0].horizons:
        assert time.monotonic() < until
        time.sleep(0.1)
    said = presage("forecast", "memory", "--config", config)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("resource   memory (memory): ")
    assert re.search(r"^lacking    hours \(needs \d+ more hours\), days \(", said.stdout, re.MULTILINE)


def test_without_a_daemon_there_is_one_line(presage, config):
    said = presage("forecast", "--config", config)
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("presage: nothing runs on ")


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("/var", "/var"),
        ("var", "/var"),
        ("/var/", "/var"),
        ("/SRV", "/srv"),
        ("/", "/"),
        ("mem", "memory"),
        ("eth0 r", "eth0 receive"),
        ("/var i", "/var inodes"),
        ("c", "cpu"),
    ],
)
def test_names_are_met_halfway(wanted, meant):
    assert named(wanted, NAMES) == meant


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("eth0", '"eth0" may be "eth0 receive" or "eth0 transmit"'),
        ("eth1 receive", 'the nearest is "eth0 receive"'),
        ("\u00b5", "the nearest is"),
    ],
)
def test_what_is_not_clear_is_asked_back(wanted, said):
    with pytest.raises(DaemonError) as error:
        named(wanted, NAMES)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_path_is_on_its_file_system(tmp_path):
    (tmp_path / "inner" / "deep").mkdir(parents=True)
    names = ["/", str(tmp_path), str(tmp_path / "inner"), f"{tmp_path / 'inner'} inodes", "cpu"]
    assert named(str(tmp_path / "inner" / "deep"), names) == str(tmp_path / "inner")
    with pytest.raises(DaemonError, match="the nearest is"):
        named(str(tmp_path / "absent"), ["cpu", str(tmp_path / "inner")])


def answer(**changes):
    return ForecastAnswer.model_validate(VAR | changes)


@pytest.mark.parametrize(("days", "name"), [(0.3, "hours"), (9, "days"), (300, "days"), (None, "days")])
def test_what_is_drawn_is_where_it_becomes_full(days, name):
    median = None if days is None else NOW + round(days * DAY)
    one = answer(exhaustion=VAR["exhaustion"] | {"median_ms": median})
    assert [each.name for each in chosen(one, None)] == [name]


def test_a_horizon_that_is_lacking_is_not_drawn_by_itself():
    assert chosen(ForecastAnswer.model_validate(NEW), None) == []
    assert [each.name for each in chosen(ForecastAnswer.model_validate(CPU), None)] == ["hours"]  # before months
    assert [each.name for each in chosen(answer(), Ahead.MONTHS)] == ["months"]


def test_a_terminal_of_eighty_columns_folds_long_names_alone():
    long = resource("/srv/a/very/long/mount/point", "full in 40 min (80 %: 30 min to 1 h)", (1.0,) * 5)
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, color_system="standard", legacy_windows=False)
    print_forecasts(console, ForecastsAnswer.model_validate({"forecasts": [long, VAR], "problem": ""}))
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert max(map(len, text.splitlines())) <= 80
    assert "in 40 min (80 %: 30 min to 1 h)  100 %  100 %  100 %" in text
    assert re.search(r"^nt/point +$", text, re.MULTILINE)
    assert "\x1b[1;31m100 %" in out.getvalue()  # likely within a day


def test_names_with_control_characters_are_shown_as_spaces():
    said = "".join(text.plain for _, text in rows(answer(resource="/a\x1b[31m", explanation=["b\nc"])))
    assert "\x1b" not in said
    assert "\n" not in said
