"""A sample as it is stored: its marks, its bytes, many of them as arrays, and what a rollup keeps of them.

Enters: what a tick measured, or bytes of history.db. Leaves: the other of the two. What a mark says of a sample is
decided by who sets it; what is not to be learned from is decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.clock import Instant

Float32 = NDArray[np.float32]

FLAG_GAP = 1  # time before this sample is unseen: nothing may look across
FLAG_DOUBTFUL = 2  # the clock jumped in this hour: no rhythm may be learned from it
FLAG_ALARMED = 4  # inside an episode or incident: not to be learned from
FLAG_OWN_WORK = 8  # the daemon itself was learning or notifying: says little of the host
FLAG_SPARED = 16  # above the threshold, but not above where verdicts have raised it: no alarm, not to be learned from
FLAG_EXPECTED = 32  # what an operator called expected: no alarm, not to be learned from, sets no threshold
FLAG_INCIDENT = 64  # inside what an operator called real: never to be learned from
FLAGS_UNUSUAL = FLAG_ALARMED | FLAG_SPARED | FLAG_EXPECTED  # not to be learned from, unless they are the rule
FLAGS_LEFT_OUT = FLAGS_UNUSUAL | FLAG_INCIDENT

STATISTICS = ("mean", "min", "max", "p95", "last", "count")

_AT_ONCE = 50_000  # values that are sorted together


@dataclass(frozen=True, slots=True)
class StoredSample:
    """One tick as it is stored. Scores are None before there is a model.

    `signal_ids` (S,) ascending is the schema, every signal that is known; `values` (S,) has NaN for
    what was missing in this tick, so a collector that stumbles makes no new schema.
    """

    seq: int
    instant: Instant
    hour: int
    flags: int
    model: int
    raw_score: float | None
    raw_threshold: float | None
    signal_ids: NDArray[np.int64]
    values: Float32


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples as arrays: `values` (T, S) for `signal_ids` (S,), NaN = missing; the rest is (T,)."""

    signal_ids: tuple[int, ...]
    values: Float32
    seq: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    hours: NDArray[np.int64]
    flags: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Recorded:
    """Samples with what orders them: `monotonic_ns` and `boot` (T,), a number for each boot."""

    rows: Rows
    monotonic_ns: NDArray[np.int64]
    boot: NDArray[np.int64]


def left_out(flags: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which samples are not to be learned from, by their `flags` (T,): unusual ones, and real incidents.

    When more than half is unusual, that is how the host is now, and it is learned; a real incident never is.
    """
    out = np.asarray((flags & FLAGS_UNUSUAL) != 0)
    if out.any() and out.mean() > 0.5:  # noqa: PLR2004 - half
        out[:] = False
    return np.asarray(out | ((flags & FLAG_INCIDENT) != 0))


def places(signals: Sequence[int], ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which of `signals` are among the ascending `ids`, and where."""
    asked = np.asarray(signals, np.int64)
    there = np.flatnonzero(np.isin(asked, ids))
    return there, np.searchsorted(ids, asked[there])


def encode(values: Float32) -> bytes:
    """One BLOB a sample: a bit for each signal that is present, then the present values, little-endian float32."""
    present = np.isfinite(values)
    return np.packbits(present).tobytes() + values[present].astype("<f4").tobytes()


def decode_all(blobs: Sequence[bytes], signals: int) -> Float32:
    """Return the values (T, S) of `encode`: those of one mask, as nearly all are, at once."""
    mask_bytes = (signals + 7) // 8
    mask = blobs[0][:mask_bytes]
    if not all(len(blob) == len(blobs[0]) and blob.startswith(mask) for blob in blobs):
        return np.stack([decode(blob, signals) for blob in blobs])
    present = np.unpackbits(np.frombuffer(mask, np.uint8), count=signals).astype(np.bool_)
    out = np.full((len(blobs), signals), np.nan, np.float32)
    table = np.frombuffer(b"".join(blobs), np.uint8).reshape(len(blobs), -1)
    out[:, present] = np.ascontiguousarray(table[:, mask_bytes:]).view("<f4")
    return out


def decode(data: bytes, signals: int) -> Float32:
    """Return the values (S,) of `encode`, NaN = missing."""
    mask_bytes = (signals + 7) // 8
    present = np.unpackbits(np.frombuffer(data, np.uint8, mask_bytes), count=signals).astype(np.bool_)
    out = np.full(signals, np.nan, np.float32)
    out[present] = np.frombuffer(data, "<f4", offset=mask_bytes)
    return out


def statistics(values: Float32) -> Float32:
    """Return mean, min, max, p95, last, count (6, S) of `values` (T, S) without the missing ones; NaN where all are."""
    out = np.full((len(STATISTICS), values.shape[1]), np.nan, np.float32)
    out[5] = np.isfinite(values).sum(axis=0)
    measured = np.flatnonzero(out[5])
    few = max(1, _AT_ONCE // max(len(values), 1))  # all together would take five times what the values do
    for first in range(0, len(measured), few):
        columns = measured[first : first + few]
        part = values[:, columns]
        there = np.isfinite(part)
        ordered, seen = np.sort(part.astype(np.float64), axis=0), there.sum(axis=0)  # NaN last
        out[0, columns] = np.nansum(ordered, axis=0) / seen
        each = np.arange(len(columns))
        out[1, columns], out[2, columns] = ordered[0], ordered[seen - 1, each]
        place = 0.95 * (seen - 1)
        below = place.astype(np.int64)
        above = np.minimum(below + 1, seen - 1)
        out[3, columns] = ordered[below, each] + (place - below) * (ordered[above, each] - ordered[below, each])
        out[4, columns] = part[len(values) - 1 - np.argmax(there[::-1], axis=0), each]
    return out
