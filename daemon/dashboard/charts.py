"""The chart library: plotly's own JavaScript out of its installed package, compressed once into the cache folder.

Enters: the package's file, found without importing the package. Leaves: a file to send. The library never lies in
the daemon's memory: it is copied in small pieces, and the kernel sends it from the file.
"""

import contextlib
import hashlib
import os
import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

_GZIP = 31  # zlib's word for a gzip header and the largest window
_LEVEL = 6  # 9 takes a quarter longer and saves 0.2 %
_PIECE = 64 * 1024


@dataclass(frozen=True, slots=True)
class ChartFile:
    """What is sent: `path`, compressed by gzip or as it is."""

    path: Path
    is_compressed: bool


class ChartLibrary:
    """`address` is where the page finds it, "" where the package is not there; it changes with the file."""

    def __init__(self, cache: Path, source: Path | None) -> None:
        self._cache = cache / "dashboard"
        self._source = source
        self.name = "" if source is None else f"charts-{_identity(source)}.js"

    @property
    def address(self) -> str:
        """The path of the library on this server."""
        return f"/dashboard/{self.name}" if self.name else ""

    def prepared(self) -> ChartFile:
        """Return the file to send, made where it is not there yet; blocks. Raises OSError when it cannot be read.

        Where the cache folder takes no file, the library is sent as it is: three times as much to load, once.
        """
        if self._source is None:
            raise FileNotFoundError("plotly's JavaScript is not installed")
        wanted = self._cache / f"{self.name}.gz"
        if wanted.is_file():
            return ChartFile(wanted, is_compressed=True)
        with self._source.open("rb") as whole:
            whole.read(1)  # that it cannot be read must not be taken for a cache that cannot be written
        try:
            self._compress(wanted)
        except OSError:
            return ChartFile(self._source, is_compressed=False)
        return ChartFile(wanted, is_compressed=True)

    def _compress(self, wanted: Path) -> None:
        assert self._source is not None  # noqa: S101 - asked by `prepared`
        self._cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        partial = wanted.with_suffix(f".{os.getpid()}.partial")
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        try:
            with self._source.open("rb") as whole, partial.open("wb") as packed:
                while piece := whole.read(_PIECE):
                    packed.write(packer.compress(piece))
                packed.write(packer.flush())
            partial.replace(wanted)
        finally:
            partial.unlink(missing_ok=True)
        for other in self._cache.glob("charts-*"):
            if other != wanted:
                with contextlib.suppress(OSError):
                    other.unlink()


def installed_library() -> Path | None:
    """Return where plotly keeps its JavaScript, None where plotly is not installed; it is not imported."""
    spec = find_spec("plotly")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "package_data" / "plotly.min.js"
        if path.is_file():
            return path
    return None


def _identity(source: Path) -> str:
    """Return what changes with the file: reading 5 MB for it at each start would cost more than it tells."""
    found = source.stat()
    return hashlib.sha256(f"{found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:16]
