"""Why an anomaly was one: opened from an alert, with its host and its time."""

from mixin import scales
from mixin.board import ONE, Board
from mixin.boards.host import firing, score
from mixin.panels import BLUE, RED, Query, gauges, lines, number, states

LEARNING = "learning: a score comes after 60 samples"
SIGNAL = '{__name__=~"presaged_signal_.+", ' + ONE + ', signal=~"$signal"}'


def anomaly() -> Board:
    """Return the drill-down."""
    text = "Why the host was unlike itself: the score, the signals that made it, and what they did."
    board = Board("anomaly", "Anomaly", text, since="now-3h")
    board.variable(
        "signal", "Signals", f"label_values(presaged_anomaly_contribution_ratio{{{ONE}}}, signal)", many=True
    )
    _figures(board)
    board.row("The score")
    _scores(board)
    board.row("What made it")
    _signals(board)
    return board


def _figures(board: Board) -> None:
    board.add(
        4,
        score(LEARNING),
        number(
            "Score to threshold",
            "The raw score in units of the threshold it must pass: 1 is the threshold.",
            f"presaged_anomaly_raw_score{{{ONE}}} / presaged_anomaly_raw_threshold{{{ONE}}}",
            unit="short",
            steps=((None, "green"), (0.7, "yellow"), (1, RED)),
            nothing=LEARNING,
            decimals=2,
        ),
        number(
            "Episodes",
            "Episodes of anomaly that began within the range; at most seven a week are meant.",
            f"increase(presaged_anomaly_episodes_total{{{ONE}}}[$__range])",
            unit="short",
            nothing="not known yet",
            decimals=0,
        ),
        number(
            "Early samples",
            "Samples within the range that pressure woke early.",
            f"increase(presaged_early_ticks_total{{{ONE}}}[$__range])",
            unit="short",
            nothing="none",
            decimals=0,
        ),
    )


def _scores(board: Board) -> None:
    board.add(
        9,
        lines(
            "Raw score and threshold",
            "What decides: the raw score is an anomaly above the threshold, which follows the last seven days.",
            [
                Query(f"presaged_anomaly_raw_score{{{ONE}}}", "score"),
                Query(f"presaged_anomaly_raw_threshold{{{ONE}}}", "threshold"),
            ],
            unit="short",
            nothing=LEARNING,
        ),
        lines(
            "Score",
            "The same on the scale of 0 to 1 that people are shown.",
            [Query(f"presaged_anomaly_score{{{ONE}}}", "score")],
            unit="percentunit",
            steps=((None, "transparent"), (0.8, RED)),
            high=1,
            nothing=LEARNING,
        ),
    )
    board.add(
        5,
        states(
            "Alerts",
            "When each alert of this host fired.",
            Query(f"presaged_alert_active{{{ONE}}}", "{{alertname}} {{resource}}"),
            mapped=[scales.FIRES],
            nothing="nothing fired in this range",
        ),
        firing(),
    )


def _signals(board: Board) -> None:
    board.add(
        9,
        lines(
            "Shares of the score",
            "The five signals that make most of the score, at each moment.",
            [Query(f"presaged_anomaly_contribution_ratio{{{ONE}}}", "{{signal}}")],
            unit="percentunit",
            stacked=True,
            nothing=LEARNING,
        ),
        gauges(
            "Now",
            "The signals that make most of the score now.",
            Query(f"sort_desc(presaged_anomaly_contribution_ratio{{{ONE}}})", "{{signal}}"),
            unit="percentunit",
            steps=((None, BLUE),),
            nothing=LEARNING,
            high=1,
        ),
        widths=(16, 8),
    )
    board.add(
        10,
        lines(
            "What they did",
            "The signals chosen above, in their own units; choose one or two of the same unit to compare them.",
            [Query(SIGNAL, "{{signal}}")],
            unit="short",
            low=None,
            nothing="choose signals above",
        ),
    )
