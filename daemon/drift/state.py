"""What is known of drift after a check, in immutable pieces: what /metrics, the API and the alerts read."""

import json
from dataclasses import asdict, dataclass

from detectors.drift import DriftLevel

MOST_SIGNALS = 20  # told by name, the farthest first


@dataclass(frozen=True, slots=True)
class SignalDrift:
    """A signal that drifted: its distance (0 to 1), the probability of that by chance, and of how many samples.

    `effective` samples are independent ones' worth: what a day of samples that repeat one another comes to.
    """

    signal: str
    distance: float
    probability: float
    effective: float


@dataclass(frozen=True, slots=True)
class NetworkDrift:
    """What drifted of that which a network is made of, and of what it answers.

    `inputs`: the share of the signals that it is given, `drifted` of `judged`; None = too few are judged. `outputs`:
    the same of its answers.
    """

    network: str
    inputs: float | None
    judged: int
    drifted: int
    outputs: float | None = None
    outputs_judged: int = 0
    outputs_drifted: int = 0


@dataclass(frozen=True, slots=True)
class DriftState:
    """Drift as of `time_ms`. `score` is None where too little is known: `missing` says what.

    `drifted` of `judged` signals no longer follow the days from `first_ms` to `end_ms` (UTC); of `signals` that are
    known the others are not judged: a day tells too little of them. `examples`: the farthest, at most 20. `earlier`:
    those are days of a model before, for the host runs again as it did then.
    """

    missing: str = "not checked yet"
    level: DriftLevel = DriftLevel.TOO_LITTLE
    score: float | None = None
    signals: int = 0
    judged: int = 0
    drifted: int = 0
    examples: tuple[SignalDrift, ...] = ()
    networks: tuple[NetworkDrift, ...] = ()
    time_ms: int | None = None
    first_ms: int | None = None
    end_ms: int | None = None
    earlier: bool = False

    def to_text(self) -> str:
        """Return it as text to be kept over a restart."""
        return json.dumps(asdict(self))


def from_text(text: str) -> DriftState:
    """Return what `DriftState.to_text` gave. Raises ValueError for anything else."""
    try:
        kept = dict(json.loads(text))
        examples = tuple(SignalDrift(**one) for one in kept["examples"])
        networks = tuple(NetworkDrift(**one) for one in kept["networks"])
        return DriftState(**{**kept, "level": DriftLevel(kept["level"]), "examples": examples, "networks": networks})
    except (KeyError, TypeError) as error:
        raise ValueError(f"the last check of drift is not understood: {error}") from error
