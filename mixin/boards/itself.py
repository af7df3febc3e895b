"""The daemon itself: is it there, does it read everything, what does it cost, and does what it tells arrive?"""

from grafana_foundation_sdk.builders import stat

from mixin import scales
from mixin.board import ONE, Board
from mixin.panels import ANY_IS_BAD, Query, gauges, lines, number, states

NO_SINK = "no sink is configured, or Prometheus tells"


def itself() -> Board:
    """Return the dashboard of the daemon."""
    text = "Is presaged there, does it read everything, what does it cost, and does what it tells arrive?"
    board = Board("itself", "The daemon itself", text)
    _figures(board)
    board.row("Cost")
    _cost(board)
    board.row("Sources")
    _sources(board)
    board.row("Notifications")
    _notifications(board)
    board.row("What went wrong inside")
    _troubles(board)
    return board


def _figures(board: Board) -> None:
    board.add(
        4,
        number(
            "presaged",
            "Whether it could be scraped.",
            f"up{{{ONE}}}",
            unit="short",
            mapped=[scales.UP],
            nothing="no such target",
        ),
        number(
            "Version",
            "Its version, and what computes the networks.",
            f"presaged_build_info{{{ONE}}}",
            unit="short",
            nothing="not known yet",
            legend="{{version}} {{backend}}",
        ),
        number(
            "Last sample",
            "How long ago the host was read last.",
            f"time() - presaged_last_sample_timestamp_seconds{{{ONE}}}",
            unit="s",
            steps=scales.STALE,
            nothing="none yet",
            decimals=0,
        ),
        number(
            "Processor",
            "Share of one processor that it takes.",
            f"instance:presaged_cpu:rate5m{{{ONE}}}",
            unit="percentunit",
            steps=((None, "green"), (0.1, "yellow"), (0.5, "red")),
            nothing="not known yet: are the recording rules of the mixin loaded?",
            decimals=2,
        ),
        number(
            "Memory",
            "Memory that it holds.",
            f"process_resident_memory_bytes{{{ONE}}}",
            unit="bytes",
            steps=((None, "green"), (250e6, "yellow"), (500e6, "red")),
            nothing="not known yet",
        ),
        number(
            "Series",
            "Series of one scrape; 300 at most are meant on an ordinary host.",
            f"scrape_samples_scraped{{{ONE}}}",
            unit="short",
            steps=((None, "green"), (301, "yellow"), (1001, "red")),
            nothing="not scraped yet",
        ),
    )


def _cost(board: Board) -> None:
    board.add(
        8,
        lines(
            "Duration of a tick",
            "From the first source to the stored alert: half of them, and all but one in twenty, take no longer.",
            [
                Query(f"instance:presaged_tick_seconds:p95{{{ONE}}}", "95 %"),
                Query(
                    "histogram_quantile(0.5,"
                    f" sum by (le) (rate(presaged_tick_seconds_bucket{{{ONE}}}[$__rate_interval])))",
                    "half",
                ),
            ],
            unit="s",
        ),
        lines(
            "Scoring one sample",
            "Mean duration of scoring one sample, by network.",
            [
                Query(
                    f"rate(presaged_inference_seconds_sum{{{ONE}}}[$__rate_interval])"
                    f" / rate(presaged_inference_seconds_count{{{ONE}}}[$__rate_interval])",
                    "{{network}}",
                )
            ],
            unit="s",
        ),
        lines(
            "Processor",
            "Share of one processor that the daemon takes, without its child.",
            [Query(f"rate(process_cpu_seconds_total{{{ONE}}}[$__rate_interval])", "processor")],
            unit="percentunit",
        ),
    )
    board.add(
        8,
        lines(
            "Memory",
            "Memory that the daemon holds.",
            [Query(f"process_resident_memory_bytes{{{ONE}}}", "resident")],
            unit="bytes",
        ),
        lines(
            "Open files",
            "Open files of the daemon, and how many it may open.",
            [Query(f"process_open_fds{{{ONE}}}", "open"), Query(f"process_max_fds{{{ONE}}}", "limit")],
            unit="short",
        ),
        lines(
            "Scrapes",
            "How long Prometheus waited for /metrics.",
            [Query(f"scrape_duration_seconds{{{ONE}}}", "scrape")],
            unit="s",
        ),
    )


def _sources(board: Board) -> None:
    board.add(
        9,
        states(
            "Sources",
            "Whether each source could be read; one that the host has not is left out.",
            Query(f"presaged_collector_success{{{ONE}}}", "{{collector}}"),
            mapped=[scales.READ],
            nothing="no sample yet",
        ),
        gauges(
            "Slowest sources",
            "How long each source took at the last sample, the ten slowest.",
            Query(f"topk(10, presaged_collector_seconds{{{ONE}}})", "{{collector}}"),
            unit="s",
            steps=((None, "green"), (0.5, "yellow"), (2, "red")),
            nothing="no sample yet",
        ),
        lines(
            "Signals",
            "Signals that are known, and those of them that are not exported ([metrics] signals).",
            [
                Query(f"presaged_signals{{{ONE}}}", "known"),
                Query(f"presaged_signals_not_exported{{{ONE}}}", "not exported"),
            ],
            unit="short",
        ),
        states(
            "Room",
            "What there is enough room for; where it is short, something is done without, and sampling goes on.",
            Query(f"presaged_degraded{{{ONE}}}", "{{mode}}"),
            mapped=[scales.ROOM],
            nothing="not known yet",
        ),
    )


def _notifications(board: Board) -> None:
    board.add(
        8,
        lines(
            "Accepted",
            "Notifications that each sink accepted.",
            [Query(f"increase(presaged_notifications_total{{{ONE}}}[$__rate_interval])", "{{sink}}")],
            unit="short",
            bars=True,
            nothing=NO_SINK,
        ),
        lines(
            "Not accepted",
            "Attempts that failed and are made again, notifications that were given up, and that made room for others.",
            [
                Query(f"increase(presaged_notifications_failed_total{{{ONE}}}[$__rate_interval])", "{{sink}}: failed"),
                Query(f"increase(presaged_notifications_dead_total{{{ONE}}}[$__rate_interval])", "{{sink}}: given up"),
                Query(
                    f"increase(presaged_notifications_dropped_total{{{ONE}}}[$__rate_interval])", "{{sink}}: made room"
                ),
            ],
            unit="short",
            bars=True,
            nothing=NO_SINK,
        ),
        lines(
            "Waiting",
            "Notifications that wait for delivery, and alerts that fire and are muted or left to Prometheus.",
            [
                Query(f"presaged_outbox_pending{{{ONE}}}", "waiting"),
                Query(f"presaged_alerts_muted{{{ONE}}}", "muted"),
            ],
            unit="short",
        ),
    )


def _troubles(board: Board) -> None:
    # A series that comes into being with its first failure shows no increase: those are counted since the start.
    def counted(title: str, text: str, expr: str) -> stat.Panel:
        return number(title, text, expr, unit="short", steps=ANY_IS_BAD, nothing="none", decimals=0)

    board.add(
        4,
        counted(
            "Ticks missed",
            "Ticks that were skipped because the one before took too long, within the range.",
            f"increase(presaged_ticks_missed_total{{{ONE}}}[$__range])",
        ),
        counted(
            "Not stored",
            "Samples that could not be stored, within the range.",
            f"increase(presaged_store_failures_total{{{ONE}}}[$__range])",
        ),
        counted(
            "Jobs failed or skipped",
            "Scheduled runs that failed or did not happen, since the start.",
            f"(sum(presaged_job_failures_total{{{ONE}}}) or vector(0))"
            f" + (sum(presaged_jobs_skipped_total{{{ONE}}}) or vector(0))",
        ),
        counted(
            "Failures survived",
            "Failures inside the daemon that it survived, of models and of back ends, since the start.",
            f"(sum(presaged_internal_failures_total{{{ONE}}}) or vector(0))"
            f" + sum(presaged_model_failures_total{{{ONE}}}) + sum(presaged_backend_failures_total{{{ONE}}})",
        ),
        counted(
            "History set aside",
            "Times that a corrupt history was set aside since the start.",
            f"presaged_database_resets_total{{{ONE}}}",
        ),
        counted(
            "Restarts",
            "How often the daemon was started again within the range.",
            f"changes(process_start_time_seconds{{{ONE}}}[$__range])",
        ),
    )
