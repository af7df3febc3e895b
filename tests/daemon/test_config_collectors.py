"""What the tables about applications refuse, in words that say what would be right."""

import pytest

from daemon.config import load
from daemon.errors import ConfigError


def block(name="shop", source='url = "http://127.0.0.1:8000/metrics"', metrics=("depth",)):
    listed = ", ".join(f'"{metric}"' for metric in metrics)
    return f'[[collectors.application]]\nname = "{name}"\n{source}\nmetrics = [{listed}]\n'


REFUSED = {
    "no source": (block(source=""), "give either url or directory"),
    "two sources": (block(source='url = "http://a/"\ndirectory = "/b"'), "give either url or directory"),
    "a password": (block(source='url = "http://me:hunter2@a/"'), "the url holds a password"),
    "another scheme": (block(source='url = "ftp://a/"'), "must be like"),
    "a port that is none": (block(source='url = "http://a:70000/"'), "must be like"),
    "half an address": (block(source='url = "http://[::1/"'), "must be like"),
    "a folder that is relative": (block(source='directory = "textfiles"'), 'directory must begin with "/"'),
    "labels": (block(metrics=("up{job=1}",)), "names without labels"),
    "buckets": (block(metrics=("seconds_bucket",)), "name the histogram"),
    "nothing listed": (block(metrics=()), "at least one, and each once"),
    "one twice": (block(metrics=("a", "a")), "at least one, and each once"),
    "a name twice": (block() + block(), 'two applications are named "shop"'),
    "a name that is none": (block(name="My Shop"), "name"),
    "too many": (
        block("a", metrics=[f"m{n}" for n in range(30)]) + block("b", metrics=[f"m{n}" for n in range(21)]),
        "51 metrics are named in all: 50 at most would be right",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_and_says_what_would_be_right(tmp_path, case):
    text, words = REFUSED[case]
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    (problem,) = caught.value.problems
    assert words in problem
    assert "hunter2" not in problem
    assert problem.startswith(f"{file}:")


def test_both_kinds_are_taken(tmp_path):
    file = tmp_path / "config.toml"
    metrics = tuple(f"metric_{number}" for number in range(49))
    nightly = block("nightly", 'directory = "/var/lib/node_exporter"', metrics)
    file.write_text(block(source='url = "https://[::1]:9/m?x=1"') + nightly, encoding="utf-8")
    shop, nightly = load(file, {}).config.collectors.application
    assert (shop.name, shop.url, shop.directory, shop.metrics) == ("shop", "https://[::1]:9/m?x=1", "", ("depth",))
    assert (nightly.directory, nightly.metrics) == ("/var/lib/node_exporter", metrics)
