"""Every dashboard against Grafana's own schema, made of the types that Grafana publishes for its panels.

They are installed by npm for the test and never checked in; where npm or its registry is not there, it is skipped.
"""

import json
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest

HERE = Path(__file__).parent
BOARDS = sorted((HERE.parents[1] / "mixin" / "dashboards").glob("*.json"))
MAKE = "--path types.ts --tsconfig tsconfig.json --type Kinds --no-type-check --expose none --out schema.json"


@pytest.fixture(scope="module")
def kinds(tmp_path_factory):
    """Return the schema of each part of a dashboard."""
    if not shutil.which("npm"):
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("schema")
    shutil.copytree(HERE / "schema", folder, dirs_exist_ok=True)
    install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        pytest.skip(f"Grafana's types cannot be installed: {done.stderr.strip()[-200:]}")
    program = folder / "node_modules" / ".bin" / "ts-json-schema-generator"
    subprocess.run([program, *MAKE.split()], cwd=folder, check=True, capture_output=True)
    schema = json.loads((folder / "schema.json").read_text())
    return schema.get("properties") or schema["definitions"]["Kinds"]["properties"]


def errors(schema, document):
    return [
        f"{'/'.join(map(str, one.absolute_path))}: {one.message[:300]}"
        for one in jsonschema.Draft7Validator(schema).iter_errors(document)
    ]


@pytest.mark.parametrize("path", BOARDS, ids=lambda path: path.stem)
def test_it_is_what_grafana_says_a_dashboard_is(path, kinds):
    board = json.loads(path.read_text())
    for one in board["annotations"]["list"]:
        del one["expr"]  # the types know annotations of Grafana's own store; those of Prometheus have it beside
    assert errors(kinds["dashboard"], board) == []
    for panel in board["panels"]:
        if panel["type"] == "row":
            continue
        kind = panel["type"]
        assert errors(kinds["options"]["properties"][kind], panel["options"]) == [], panel["title"]
        custom = panel["fieldConfig"]["defaults"].get("custom", {})
        if kind in kinds["custom"]["properties"]:
            assert errors(kinds["custom"]["properties"][kind], custom) == [], panel["title"]
        for target in panel["targets"]:
            assert errors(kinds["target"], target) == [], panel["title"]


def test_the_schema_finds_what_is_wrong(kinds):
    board = json.loads(BOARDS[0].read_text())
    del board["annotations"]
    board["panels"][1]["gridPos"]["x"] = "left"
    assert errors(kinds["dashboard"], board)
    assert errors(kinds["options"]["properties"]["stat"], {"graphMode": "loud"})
