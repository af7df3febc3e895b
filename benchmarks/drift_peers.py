"""What alibi-detect's KSDrift says of series, in an environment of its own: it pins old NumPy, SciPy and Numba.

`python -P benchmarks/drift_peers.py` reads the name of a NumPy file from every line of standard input: reference
days and a last day (2, T, S). It answers with the number of the S series that drifted at a nominal 5 %, each by itself.
"""

import sys
import warnings

import numpy as np


def main() -> int:
    """Answer until standard input ends."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import alibi_detect  # noqa: PLC0415 - a peer, not a dependency
        from alibi_detect.cd import KSDrift  # noqa: PLC0415 - as above

    print(alibi_detect.__version__, flush=True)
    for line in sys.stdin:
        reference, last = np.load(line.strip())
        told = KSDrift(reference, p_val=0.05).predict(last, return_p_val=True)
        print(int((told["data"]["p_val"] < 0.05).sum()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
