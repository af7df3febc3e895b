import gzip
import re
from importlib.resources import files

import pytest

from daemon.dashboard.files import ICON, PAGE, read_files

STATIC = files("daemon.dashboard").joinpath("static")
SOURCES = {one.name: one.read_text(encoding="utf-8") for one in STATIC.iterdir()}
SCRIPTS = {name: text for name, text in SOURCES.items() if name.endswith(".js")}


def test_the_page_names_files_that_are_there_and_all_scripts_that_it_needs():
    found = read_files("/dashboard/charts-1.js")
    page = found.files[PAGE].plain.decode()
    assert "{base}" not in page
    assert "{charts}" not in page
    named = re.findall(rf"/dashboard/{found.version}/([\w.]+)", page)
    assert set(named) <= set(found.files)
    assert {name for name in named if name.endswith(".js")} == set(SCRIPTS)


def test_every_import_is_a_file_of_ours():
    for name, text in SCRIPTS.items():
        for wanted in re.findall(r'from "([^"]+)"', text):
            assert wanted.removeprefix("./") in SCRIPTS, f"{name} imports {wanted}"


def test_what_is_imported_is_there_and_used():
    for name, text in SCRIPTS.items():
        for names, source in re.findall(r"import \{([^}]*)\} from \"\./([^\"]+)\"", text):
            for one in filter(None, (word.strip() for word in names.split(","))):
                assert re.search(rf"export (async function|function|const|class) {one}\b", SCRIPTS[source]), one
                assert len(re.findall(rf"\b{one}\b", text)) > 1, f"{name} imports {one} for nothing"


@pytest.mark.parametrize(
    "way", ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "srcdoc"]
)
def test_no_text_can_become_markup_or_script(way):
    assert [name for name, text in SCRIPTS.items() if way in text] == []


def test_neither_script_nor_style_stands_in_the_page():
    page = SOURCES[PAGE]
    assert re.findall(r"<script[^>]*>[^<]+", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=", page) == []


def test_nothing_is_loaded_from_elsewhere():
    for name, text in SOURCES.items():
        addresses = set(re.findall(r"https?://[^\s\"'<>)]+", text)) - {"http://www.w3.org/2000/svg"}
        assert addresses == set(), name
        assert not re.search(r"url\(|@import", text), name


def test_the_version_changes_with_any_file_and_with_the_library():
    assert read_files("a").version == read_files("a").version != read_files("b").version


def test_files_are_small_and_typed():
    found = read_files("")
    assert sum(len(one.compressed) for one in found.files.values()) < 60_000
    assert found.files[ICON].content_type == "image/svg+xml"
    assert all(gzip.decompress(one.compressed) for one in found.files.values())
