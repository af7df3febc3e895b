"""Makes the shipped networks that read a host's failures, out of simulated histories alone: part of `make pretrain`.

Enters: seeds. Leaves: the model file in `detectors/pretrained/failure/history`, and a report on histories of another
seed. Run before shipping, by nobody else: neither the daemon nor its child imports this.
"""

import sys
from pathlib import Path

from detectors.event_simulator import simulated
from detectors.failure import SHIPPED
from detectors.failure_history import Ensemble, save_history
from detectors.failure_learning import quality
from detectors.hazard import Hazard, pretrained

HISTORIES, JUDGED, ROWS_EACH = 400, 100, 2000
SEED, JUDGING = 0, 1


def report(ensemble: Ensemble, histories: int, seed: int) -> dict[str, float]:
    """Return what the networks are worth on histories of `seed`: `1h.auc_pr`, ..."""
    inputs, came, weights = simulated(histories, ROWS_EACH, seed)
    told = Hazard(ensemble).simulated_risk(inputs)
    out: dict[str, float] = {}
    for place, name in enumerate(("1h", "24h")):
        found = quality(told[:, place], came[:, place].astype(float), weights.astype(float))
        out.update({f"{name}.{what}": round(value, 4) for what, value in found.items()})
    return out


def pretrain(target: Path, histories: int = HISTORIES, judged: int = JUDGED) -> dict[str, float]:
    """Write the networks as a folder of `target`; return the report."""
    ensemble = pretrained(SEED, histories=histories)
    told = report(ensemble, judged, JUDGING)
    save_history(target, ensemble, told)
    return told


def main() -> None:
    """Pretrain what is shipped, and say what came of it."""
    for name, value in pretrain(SHIPPED).items():
        sys.stdout.write(f"{name}: {value:.4f}\n")


if __name__ == "__main__":
    main()
