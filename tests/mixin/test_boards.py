"""What can be told of the dashboards without a Grafana: they are current, nothing overlaps, everything is described."""

import json
import re
from pathlib import Path

import pytest

from mixin.__main__ import boards, files
from mixin.panels import WIDTH
from mixin.rules import RECORDS, Places

HERE = Path(__file__).parents[2] / "mixin"
NAMES = [board.uid for board in boards()]
DEFINED = {"datasource", "job", "instance"}


def read(uid):
    return json.loads((HERE / "dashboards" / f"{uid}.json").read_text())


def panels(document):
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def test_what_is_checked_in_is_what_is_generated():
    made = files(Places())
    there = {str(path.relative_to(HERE)) for folder in ("dashboards", "rules") for path in (HERE / folder).iterdir()}
    assert there == set(made)
    for name, text in made.items():
        assert (HERE / name).read_text() == text, f"{name}: run make mixin"


@pytest.mark.parametrize("uid", NAMES)
def test_no_panel_lies_on_another_or_leaves_a_hole_beside_it(uid):
    taken = {}
    for panel in read(uid)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= WIDTH
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]
    assert len(taken) == WIDTH * (1 + max(y for _, y in taken))


@pytest.mark.parametrize("uid", NAMES)
def test_every_panel_says_what_it_is_in_which_unit_and_what_nothing_means(uid):
    document = read(uid)
    assert document["description"]
    ids = [panel["id"] for panel in document["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels(document):
        assert panel["description"].endswith("."), panel["title"]
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"]
        assert defaults["noValue"]
        assert panel["targets"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


@pytest.mark.parametrize("uid", NAMES)
def test_every_expression_asks_for_the_chosen_hosts_alone(uid):
    document = read(uid)
    names = {one["name"] for one in document["templating"]["list"]}
    assert names >= DEFINED
    many = uid == "presaged-hosts"
    for panel in panels(document):
        for target in panel["targets"]:
            expr = target["expr"]
            asked = len(
                re.findall(
                    r'job=~"\$job", instance=~"\$instance"' if many else r'job="\$job", instance="\$instance"', expr
                )
            )
            selected = re.findall(
                r"\b(?:presaged|process|scrape|instance:presaged)_\w[\w:]*(?=[{\[ )]|$)|__name__=~", expr
            )
            assert asked >= len(selected) > 0 or "up{" in expr, expr
            used = set(re.findall(r"\$\{?(\w+)", expr)) - {"__rate_interval", "__range"}
            assert used <= names, expr


def test_dashboards_lead_to_each_other_with_host_and_time():
    for uid in NAMES:
        document = read(uid)
        up, beside = document["links"]
        assert (up["type"], up["url"], up["keepTime"]) == ("link", "/d/presaged-hosts", True)
        assert (beside["type"], beside["tags"], beside["keepTime"]) == ("dashboards", ["presaged-host"], True)
        of_one = uid != "presaged-hosts"
        assert beside["includeVars"] is of_one
        assert document["tags"] == ["presaged", "presaged-host"][: 1 + of_one]
        for url in re.findall(r'"url": "(/d/[^"]+)"', json.dumps(document["panels"])):
            assert url.split("/")[2].partition("?")[0] in NAMES
            assert "var-instance=" in url or "${instance:queryparam}" in url
            assert "${__url_time_range}" in url
            assert set(re.findall(r"\$\{__data\.fields\.(\w+)", url)) <= {"Job", "Host"}


def test_tables_whose_links_name_a_host_have_it():
    for panel in panels(read("presaged-hosts")):
        if "${__data.fields" in json.dumps(panel):
            titles = set(panel["transformations"][-1]["options"]["renameByName"].values())
            assert {"Job", "Host"} <= titles


def test_what_is_recorded_is_used_by_a_dashboard():
    text = "".join(json.dumps(read(uid)) for uid in NAMES)
    assert [name for name, _ in RECORDS if name + "{" not in text] == []
