"""From one trained network to the next: a new head, and which layers learn when.

Enters: a network trained elsewhere. Leaves: a network that begins with its parameters, and for each
layer whether it learns, as `detectors.trainer` takes it. Layers that do not learn keep every bit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from detectors.activations import Floats
from detectors.kernels import Activation
from detectors.network import Network
from detectors.parameters import initial, layers_of
from detectors.trainer import Epoch, Labels, Record, Settings, train

_LEARNING_LAYERS = 2  # of feature extraction: the head, and the layer that feeds it


@dataclass(frozen=True, slots=True)
class Start:
    """A network to train further, and for each of its layers whether it learns."""

    network: Network
    learning: tuple[bool, ...]


def with_head(base: Network, outputs: int, output: Activation, seed: int = 0) -> Network:
    """Return a copy of `base` whose last layer is new: `outputs` values behind the activation `output`."""
    architecture = replace(base.architecture, sizes=(*base.architecture.sizes[:-1], outputs), output=output)
    block = initial(architecture, seed)
    for new, old in zip(layers_of(architecture, block)[:-1], base.layers[:-1], strict=True):
        new.weights[:], new.biases[:] = old.weights, old.biases
        if new.norm is not None and old.norm is not None:
            new.norm.scale[:], new.norm.shift[:] = old.norm.scale, old.norm.shift
            new.norm.mean[:], new.norm.variance[:] = old.norm.mean, old.norm.variance
    return Network(architecture, block, backend=base.backend)


def feature_extraction(base: Network, outputs: int, output: Activation, seed: int = 0) -> Start:
    """Give `base` a new head; all layers but the last two are frozen (Yosinski et al., NeurIPS 2014)."""
    network = with_head(base, outputs, output, seed)
    layers = network.architecture.layers
    return Start(network, tuple(index >= layers - _LEARNING_LAYERS for index in range(layers)))


def fine_tuning(base: Network) -> Start:
    """Return a copy of `base` in which every layer learns; a tenth of the first rate is a good rate for it."""
    network = Network(base.architecture, base.parameters, backend=base.backend)
    return Start(network, (True,) * base.architecture.layers)


def unfreezing(layers: int) -> Iterator[tuple[bool, ...]]:
    """Yield who learns stage by stage: the last layer, then one more each time, at last all `layers`."""
    for stage in range(1, layers + 1):
        yield tuple(index >= layers - stage for index in range(layers))


def train_gradually(
    network: Network,
    inputs: Floats,
    targets: Floats | Labels,
    settings: Settings,
    *,
    progress: Callable[[int, Epoch], None] | None = None,
) -> tuple[Record, ...]:
    """Train `network` with `settings` once a stage of `unfreezing` (Howard and Ruder, "ULMFiT", ACL 2018).

    `progress` is told the stage, from 1, and the epoch. Returns the record of each stage; raises as `train`.
    """
    records = []
    for stage, learning in enumerate(unfreezing(network.architecture.layers), start=1):

        def tell(epoch: Epoch, stage: int = stage) -> None:
            if progress is not None:
                progress(stage, epoch)

        records.append(train(network, inputs, targets, settings, learning=learning, progress=tell))
    return tuple(records)
