"""What the host has learned, whether it still holds, and what was learned anew."""

from grafana_foundation_sdk.builders import table

from mixin import scales
from mixin.board import ONE, Board
from mixin.panels import RED, Column, Query, lines, number, rows

NO_MODEL = "no model of this host yet"
TOO_LITTLE = "too little data: drift is judged after days"


def learning() -> Board:
    """Return the dashboard of learning and drift."""
    text = "Whether the host still is what was learned, which models serve, and how well they do."
    board = Board("learning", "Learning and drift", text, since="now-7d")
    _figures(board)
    board.row("Drift")
    _drift(board)
    board.row("Models")
    _models(board)
    return board


def _figures(board: Board) -> None:
    board.add(
        4,
        number(
            "Drift",
            "Share of the signals that no longer follow the days that were learned from; trained anew from 15 % on.",
            f"presaged_drift_score_ratio{{{ONE}}}",
            unit="percentunit",
            steps=scales.DRIFT,
            nothing=TOO_LITTLE,
            decimals=0,
        ),
        number(
            "Age of the model",
            "Age of the model on duty.",
            f"time() - presaged_model_trained_timestamp_seconds{{{ONE}}}",
            unit="s",
            nothing=NO_MODEL,
        ),
        number(
            "Retention",
            "What the model on duty notices in earlier weeks, of what the one before did: 1 has forgotten nothing.",
            f"presaged_model_retention_ratio{{{ONE}}}",
            unit="percentunit",
            steps=((None, RED), (0.9, "yellow"), (0.95, "green")),
            nothing="no second model yet",
            decimals=0,
        ),
        number(
            "Trainings",
            "Trainings that ended since the daemon was started, well or not.",
            f"sum(presaged_retrains_total{{{ONE}}}) or vector(0)",
            unit="short",
            nothing="none",
            decimals=0,
        ),
        number(
            "Samples",
            "Samples that were taken within the range.",
            f"increase(presaged_samples_total{{{ONE}}}[$__range])",
            unit="short",
            nothing="none",
            decimals=0,
        ),
        widths=(6, 4, 4, 5, 5),
    )


def _drift(board: Board) -> None:
    board.add(
        8,
        lines(
            "Drift over time",
            "Share of the signals that drifted; a warning from 10 %, critical from 20 % on. It is shown, never sent.",
            [Query(f"presaged_drift_score_ratio{{{ONE}}}", "signals")],
            unit="percentunit",
            steps=((None, "transparent"), (0.1, "orange"), (0.2, RED)),
            nothing=TOO_LITTLE,
        ),
        lines(
            "Drift of each network",
            "Share of what each network is made of, and of what it answers, that drifted.",
            [
                Query(f"presaged_drift_inputs_ratio{{{ONE}}}", "{{network}}: what goes in"),
                Query(f"presaged_drift_outputs_ratio{{{ONE}}}", "{{network}}: what comes out"),
            ],
            unit="percentunit",
            nothing=TOO_LITTLE,
        ),
        _drifted(),
        widths=(9, 9, 6),
    )


def _drifted() -> table.Panel:
    return rows(
        "Drifted signals",
        "The signals that no longer follow what was learned, at most twenty of them. On the host: presage drift.",
        [
            Column("Signal", label="signal"),
            Column("Drifted", f"presaged_drift_detected{{{ONE}}}", words=[scales.DRIFTED]),
        ],
        nothing="no signal drifted",
    )


def _models(board: Board) -> None:
    board.add(
        8,
        rows(
            "Models that score",
            "The one on duty (champion), and those that score beside it. On the host: presage models list.",
            [
                Column("Network", label="network"),
                Column("Version", label="version"),
                Column("Role", label="role"),
                Column("Serves", f"presaged_model_info{{{ONE}}}", words=[scales.SCORES]),
            ],
            nothing=NO_MODEL,
        ),
        lines(
            "How well they do",
            "Anomaly: share of the strengths of injected faults that it notices. Capacity: 1 / (1 + error), a half is "
            "as good as the last season again. Failure: a half is as good as the base rate.",
            [Query(f"presaged_model_performance_ratio{{{ONE}}}", "{{network}}")],
            unit="percentunit",
            high=1,
            nothing="not measured yet",
        ),
        lines(
            "Trainings",
            "Trainings since the daemon was started, by what called for them and how they ended: a step is one.",
            [Query(f"sum by (trigger, outcome) (presaged_retrains_total{{{ONE}}})", "{{trigger}}: {{outcome}}")],
            nothing="no training yet",
            unit="short",
        ),
        widths=(8, 8, 8),
    )
