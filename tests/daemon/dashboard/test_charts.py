import gzip
import subprocess
import sys

import pytest

from daemon.dashboard.charts import ChartLibrary, installed_library

TEXT = b"var charts = 1;\n" * 10_000


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "plotly.min.js"
    path.write_bytes(TEXT)
    return path


def test_the_library_is_compressed_once_and_kept(tmp_path, source):
    library = ChartLibrary(tmp_path / "cache", source)
    first = library.prepared()
    assert first.is_compressed
    assert gzip.decompress(first.path.read_bytes()) == TEXT
    made = first.path.stat().st_mtime_ns
    assert ChartLibrary(tmp_path / "cache", source).prepared().path.stat().st_mtime_ns == made
    assert [one.name for one in (tmp_path / "cache" / "dashboard").iterdir()] == [f"{library.name}.gz"]


def test_another_library_has_another_address_and_the_former_copy_goes(tmp_path, source):
    before = ChartLibrary(tmp_path / "cache", source)
    before.prepared()
    source.write_bytes(TEXT + b"// 2\n")
    after = ChartLibrary(tmp_path / "cache", source)
    assert after.address != before.address
    after.prepared()
    assert [one.name for one in (tmp_path / "cache" / "dashboard").iterdir()] == [f"{after.name}.gz"]


def test_where_the_cache_takes_no_file_the_library_is_sent_as_it_is(tmp_path, source):
    (tmp_path / "cache").write_text("a file in its place")
    found = ChartLibrary(tmp_path / "cache", source).prepared()
    assert (found.path, found.is_compressed) == (source, False)


def test_a_library_that_is_not_there_has_no_address_and_one_that_went_is_said(tmp_path, source):
    assert ChartLibrary(tmp_path, None).address == ""
    with pytest.raises(FileNotFoundError):
        ChartLibrary(tmp_path, None).prepared()
    library = ChartLibrary(tmp_path, source)
    source.unlink()
    with pytest.raises(FileNotFoundError):
        library.prepared()


def test_the_installed_library_is_found_without_importing_it():
    code = (
        "import sys; from daemon.dashboard.charts import installed_library as found; print(found());"
        " assert 'plotly' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert installed_library() is not None
    assert done.stdout.strip() == str(installed_library())
