"""The page's own files, read and compressed once: HTML, style, scripts, icon.

Enters: the files beside this module. Leaves: each as it is sent. Their addresses hold a hash of all of them, so that
a browser keeps them for good and an update reaches it at once.
"""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

PAGE = "index.html"
ICON = "icon.svg"
_TYPES: Mapping[str, str] = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file, compressed by gzip."""

    content_type: str
    compressed: bytes

    @property
    def plain(self) -> bytes:
        """The file itself, for the rare client that takes no gzip."""
        return gzip.decompress(self.compressed)


@dataclass(frozen=True, slots=True)
class PageFiles:
    """All files by name; `version` changes with any of them."""

    version: str
    files: Mapping[str, PageFile]


def read_files(charts: str) -> PageFiles:
    """Return the files, the page itself with the addresses of all others; blocks. `charts`: the library's address."""
    found = {
        one.name: one.read_bytes()
        for one in sorted(files("daemon.dashboard").joinpath("static").iterdir(), key=lambda one: one.name)
        if _ending(one.name) in _TYPES
    }
    summed = hashlib.sha256(charts.encode())
    for name, content in found.items():
        summed.update(name.encode() + b"\0" + content)
    version = summed.hexdigest()[:16]
    page = found[PAGE].replace(b"{base}", f"/dashboard/{version}".encode()).replace(b"{charts}", charts.encode())
    return PageFiles(
        version,
        {
            name: PageFile(_TYPES[_ending(name)], gzip.compress(content, 9, mtime=0))
            for name, content in {**found, PAGE: page}.items()
        },
    )


def _ending(name: str) -> str:
    return name[name.rfind(".") :]
