"""The KS statistic of a moving window against a fixed reference, without sorting the window again.

A sample costs two binary searches a feature; the statistic is read from the counters alone.
"""

import zlib

import numpy as np

from detectors.kernels.backend import Backend, Counts, Float64, Sorted
from detectors.kernels.plan import Float32


class KsWindow:
    """Counts of a window's values among those of `reference`, features in rows. NaN counts for nothing."""

    def __init__(self, backend: Backend, reference: Sorted) -> None:
        features, width = reference.values.shape
        self._reference = reference
        wide = (features, width + 1)
        self._counts = Counts(np.zeros(wide, np.int16), np.zeros(wide, np.int16), np.zeros(features, np.int64))
        self._backend = backend

    def packed(self) -> bytes:
        """Return the counts in a tenth of their room: most of them are 0."""
        counts = self._counts
        return zlib.compress(b"".join((counts.sizes.tobytes(), counts.below.tobytes(), counts.upto.tobytes())), 1)

    def unpack(self, packed: bytes) -> None:
        """Take up the counts that a window of the same reference has `packed`. Raises ValueError for another's."""
        counts, whole, at = self._counts, zlib.decompress(packed), 0
        if len(whole) != sum(part.nbytes for part in (counts.sizes, counts.below, counts.upto)):
            raise ValueError("these are the counts of another reference")
        for part in (counts.sizes, counts.below, counts.upto):
            part[...] = np.frombuffer(whole, part.dtype, part.size, at).reshape(part.shape)
            at += part.nbytes

    def add(self, values: Float32) -> None:
        """Take one sample (features,), or several (samples, features), into the window."""
        self._backend.ks_place(self._reference, self._counts, values, 1)

    def remove(self, values: Float32) -> None:
        """Take samples, given as they were added, out of the window."""
        self._backend.ks_place(self._reference, self._counts, values, -1)

    def statistic(self) -> Float64:
        """Return the two-sample KS statistic (features,) of the window; NaN without numbers."""
        return self._backend.ks_read(self._reference, self._counts)
