"""The kernels: every float that the networks need computed, and the choice of what computes it.

The seam: a `Plan` says what a network looks like, a `Backend` computes it. `load` returns the best back end
that serves here: compiled ahead of time, compiled on this host, or NumPy. Only `vector`, `tile`, `forward`,
`train` and `ks` are written for Numba, and only `compiler` imports them, in a process of its own.
"""

from detectors.kernels.backend import Backend, BackendError, Packed, Sorted
from detectors.kernels.loader import Preference, came_compiled, compile_all, is_cached, load
from detectors.kernels.memory import bound_heap, release_idle, release_memory
from detectors.kernels.plan import Activation, Loss, Plan, Precision, Rule, TrainSettings, TrainState, dense
from detectors.kernels.reference import NUMPY
from detectors.kernels.window import KsWindow

__all__ = [
    "NUMPY",
    "Activation",
    "Backend",
    "BackendError",
    "KsWindow",
    "Loss",
    "Packed",
    "Plan",
    "Precision",
    "Preference",
    "Rule",
    "Sorted",
    "TrainSettings",
    "TrainState",
    "bound_heap",
    "came_compiled",
    "compile_all",
    "dense",
    "is_cached",
    "load",
    "release_idle",
    "release_memory",
]
