"""Where a value stops being good: the thresholds and words that several dashboards share.

They are the defaults of the configuration and of the policy; other settings are not known to a dashboard.
"""

from mixin.panels import BLUE, GREEN, GREY, ORANGE, RED, YELLOW, Steps, word_from, words

SCORE: Steps = ((None, GREEN), (0.6, YELLOW), (0.8, RED))
FULL: Steps = ((None, GREEN), (0.3, YELLOW), (0.6, ORANGE), (0.9, RED))
USED: Steps = ((None, GREEN), (0.8, YELLOW), (0.9, ORANGE), (0.98, RED))
RISK_HOUR: Steps = ((None, GREEN), (0.25, YELLOW), (0.5, RED))
RISK_DAY: Steps = ((None, GREEN), (0.4, YELLOW), (0.7, RED))
DRIFT: Steps = ((None, GREEN), (0.1, YELLOW), (0.2, RED))
STALE: Steps = ((None, GREEN), (120, YELLOW), (300, RED))
LEFT: Steps = ((None, RED), (4 * 3600, ORANGE), (7 * 86_400, YELLOW), (30 * 86_400, GREEN))

LONGEST_SECONDS = 315_360_000  # ten years: a forecast of longer, or of never, is not in sight
NOT_IN_SIGHT = word_from(LONGEST_SECONDS - 1, "not in sight", GREEN)
UP = words(v0=("DOWN", RED), v1=("up", GREEN))
ROOM = words(v0=("enough", GREEN), v1=("short", ORANGE))
READ = words(v0=("failed", RED), v1=("read", GREEN))
TOLD = words(v0=("told", RED), v1=("kept", GREY))
FIRES = words(v0=("quiet", GREEN), v1=("fires", RED))
SEVERITY = words(critical=("page", RED), warning=("ticket", ORANGE), info=("record", BLUE))
DRIFTED = words(v1=("drifted", ORANGE))
SCORES = words(v1=("yes", GREEN))
EVIDENCE: Steps = ((None, GREY),)


def left(where: str, bound: str = "median") -> str:
    """Return the expression of the seconds until each resource of `where` is used up, ten years at most."""
    time = f'presaged_capacity_exhaustion_timestamp_seconds{{{where}, bound="{bound}"}}'
    return f"clamp({time} - time(), 0, {LONGEST_SECONDS})"
