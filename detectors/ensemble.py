"""Several networks as one: the weighted mean of their outputs, or the median.

Enters: networks of equal inputs and outputs. Leaves: their common answer. A mean follows whom it
trusts; a median is not moved by the one that went astray.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.activations import Floats
from detectors.network import Float32, Network


def weighted_mean(outputs: Floats, weights: Sequence[float]) -> Floats:
    """Return the mean (B, O) of `outputs` (M, B, O), each member by its share of `weights` (M,)."""
    shares = _shares(weights, len(outputs))
    return np.tensordot(shares.astype(outputs.dtype), outputs, axes=1)


def median(outputs: Floats) -> Floats:
    """Return the median (B, O) over the members of `outputs` (M, B, O)."""
    return np.asarray(np.median(outputs, axis=0))


class Ensemble:
    """Networks that answer together: by the mean with `weights` (M,), by the median without.

    Raises ValueError when they do not take and give the same widths.
    """

    def __init__(self, networks: Sequence[Network], weights: Sequence[float] | None = None) -> None:
        widths = {(network.architecture.sizes[0], network.architecture.sizes[-1]) for network in networks}
        if len(widths) != 1:
            raise ValueError(f"an ensemble is of networks with the same inputs and outputs, not of {sorted(widths)}")
        if weights is not None:
            _shares(weights, len(networks))
        self.networks = tuple(networks)
        self.weights = None if weights is None else tuple(weights)

    def predict(self, inputs: Floats) -> Float32:
        """Return the common outputs (O,) of one sample (I,), or (B, O) of a batch (B, I); raises as a network does."""
        outputs = np.stack([network.predict(inputs) for network in self.networks])  # (M, B, O) or (M, O)
        common = median(outputs) if self.weights is None else weighted_mean(outputs, self.weights)
        return np.asarray(common, np.float32)


def _shares(weights: Sequence[float], members: int) -> NDArray[np.float64]:
    given = np.asarray(weights, np.float64)
    if given.shape != (members,) or not (given >= 0).all() or not given.sum() > 0:
        raise ValueError(f"weights are {members} numbers, none below 0 and one above, not {list(weights)}")
    return np.asarray(given / given.sum())
