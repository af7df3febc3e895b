"""Giving memory back after loading: code that ran once stands in memory until somebody needs it."""

import ctypes
import mmap
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path

_MAPS, _SMAPS = Path("/proc/self/maps"), Path("/proc/self/smaps")
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # malloc.h
_TRIM_BYTES = 131_072
_MMAP_BYTES = 1_048_576  # left to itself it grows with what is freed, to 32 MB, and such pieces then lie in the heap


@cache  # to look at it anew makes a class each time
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def bound_heap() -> None:
    """Let all threads share one heap, and give back what is free at its end; where the C library is not glibc, nothing.

    Each thread that blocks for us would have a heap of its own otherwise, and what one of them has freed none of the
    others can use. They take turns at Python's lock as it is.
    """
    set_option = getattr(_libc(), "mallopt", None)
    if set_option is not None:
        set_option(_M_ARENA_MAX, 1)
        set_option(_M_TRIM_THRESHOLD, _TRIM_BYTES)
        set_option(_M_MMAP_THRESHOLD, _MMAP_BYTES)


def release_memory() -> int:
    """Give back what can be given back: free heap to the system, clean pages of files; return the bytes of these."""
    trim_heap()
    return release_clean_pages()


def trim_heap() -> None:
    """Give free heap back to the system, between what is in use too; where the C library is not glibc, nothing."""
    trim = getattr(_libc(), "malloc_trim", None)
    if trim is not None:
        trim(0)


def release_idle() -> None:
    """Give back free heap, and the code that is not run often: 1 ms, where all of `release_memory` takes 9.

    What runs at each tick is there again with the next one. Nothing is written to where code lies, so that none of its
    pages is this process's own.
    """
    trim_heap()
    madvise = _madvise()
    with _MAPS.open(encoding="utf-8") as lines:
        code = [words for words in map(str.split, lines) if words[1].startswith("r-x") and words[4] != "0"]
    for place, *_ in code:
        start, end = (int(word, 16) for word in place.split("-"))
        madvise(start, end - start, mmap.MADV_DONTNEED)


def release_clean_pages() -> int:
    """Let go of the clean pages of mapped files, which the kernel reads again when asked; return their bytes.

    Only mappings that hold nothing of this process's own: what a loader relocated (RELRO) looks
    read-only too, but its pages are anonymous, and dropping them would undo the relocation.
    """
    madvise = _madvise()
    released = 0
    with _SMAPS.open(encoding="utf-8") as lines:  # one by one: all at once are a megabyte that would stay
        mappings = list(_clean_mappings(lines))
    for start, length, resident in mappings:
        if madvise(start, length, mmap.MADV_DONTNEED) == 0:
            released += resident
    return released


def _madvise() -> Callable[[int, int, int], int]:
    madvise = _libc().madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return madvise


def _clean_mappings(lines: Iterable[str]) -> Iterator[tuple[int, int, int]]:
    """Yield start, length and resident bytes of read-only file mappings without a page of their own."""
    header: list[str] = []
    sizes: dict[str, int] = {}
    for line in chain(lines, ["0-0 end"]):
        words = line.split()
        if words[0].endswith(":"):
            if words[-1] == "kB":
                sizes[words[0]] = int(words[1]) * 1024
            continue
        own = sizes.get("Anonymous:", 1) + sizes.get("Private_Dirty:", 1) + sizes.get("Swap:", 0)
        if len(header) > 5 and header[4] != "0" and "w" not in header[1] and own == 0:  # noqa: PLR2004 - a path
            start, end = (int(word, 16) for word in header[0].split("-"))
            yield start, end - start, sizes["Rss:"]
        header, sizes = words, {}
