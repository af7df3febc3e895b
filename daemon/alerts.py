"""All that stands behind a finding, put together: the pipeline, the outbox, the operator's desk, signs of life.

Enters: the configuration and the sinks that were checked before the start. Leaves: parts that the daemon calls, and the
tasks that run as long as it does. It decides nothing by itself but whose turn it is to alert.
"""

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

import structlog

from alerting.alert import AlertBook
from alerting.links import LinkSigner
from alerting.occurrence import Occurrence
from alerting.outbox import Outbox, steady_clock
from alerting.pipeline import Pipeline
from alerting.render import sentence
from alerting.sinks.alertmanager import AlertmanagerSink
from alerting.ulid import UlidSource
from daemon.alert_settings import pipeline_settings
from daemon.alert_store import OffloadedState
from daemon.clock import Clock, Instant
from daemon.config import Config
from daemon.desk import Desk
from daemon.offload import Offload
from daemon.preflight import Prepared
from daemon.state import StateDatabase
from daemon.verdicts.counting import Verdicts

_log = structlog.get_logger()


class Alerts:
    """`drill` lets the next sample carry a drill; `link_key` signs the links of notifications."""

    def __init__(
        self,
        config: Config,
        prepared: Prepared,
        *,
        host: str,
        interval_seconds: float,
        state: StateDatabase,
        offload: Offload,
        clock: Clock,
        started: Instant,
        link_key: bytes,
        drill: Callable[[str], None],
        verdicts: Verdicts,
    ) -> None:
        self._clock = clock
        self._authority = config.alerting.authority
        self._stale_seconds = float(config.alerting.scrape_stale_seconds)
        self._scraped_ns = started.monotonic_ns  # a start is no reason to take over from Prometheus
        self._alertmanagers = [sink for sink in prepared.sinks if isinstance(sink, AlertmanagerSink)]
        self._heartbeat = prepared.heartbeat
        sinks = prepared.sinks
        if self._authority == "alertmanager":
            sinks = tuple(self._alertmanagers)
            unused = [sink.name for sink in prepared.sinks if sink not in sinks]
            if unused:
                _log.warning("sinks_not_used", sinks=unused, reason='authority is "alertmanager"')
        store = OffloadedState(state, offload)
        now_ms = steady_clock(started.time_ms, lambda: clock.now().monotonic_ns)
        settings = pipeline_settings(config)
        new_id = UlidSource()
        signer = LinkSigner(link_key, config.http.external_url)
        self.outbox = Outbox(store, sinks, now_ms=now_ms)
        self.pipeline = Pipeline(
            host,
            settings,
            book=AlertBook(
                settings.policy, gap_seconds=3 * interval_seconds + 1, new_id=new_id, describe=partial(sentence, host)
            ),
            store=store,
            outbox=self.outbox,
            new_id=new_id,
            left_to=self._left_to,
            links=lambda occurrence: signer.links(occurrence, clock.now().time_ms),
        )
        self.desk = Desk(
            host=host,
            state=state,
            offload=offload,
            pipeline=self.pipeline,
            outbox=self.outbox,
            clock=clock,
            new_id=new_id,
            signer=signer,
            drill=drill,
            verdicts=verdicts,
        )

    def reconfigure(self, config: Config) -> None:
        """Follow changed settings from the next tick on; sinks, authority and heartbeat need a restart."""
        self._stale_seconds = float(config.alerting.scrape_stale_seconds)
        self.pipeline.reconfigure(pipeline_settings(config))

    def note_scrape(self) -> None:
        """Note that somebody has just read /metrics."""
        self._scraped_ns = self._clock.now().monotonic_ns

    def beat(self, monotonic_ns: int) -> None:
        """Give a sign of life: a sample was stored and scored."""
        if self._heartbeat:
            self._heartbeat.beat(monotonic_ns)

    @property
    def beats(self) -> tuple[int, int] | None:
        """How many signs of life were taken and were not; None where nobody expects any."""
        return (self._heartbeat.sent, self._heartbeat.failed) if self._heartbeat else None

    def start(self, group: asyncio.TaskGroup, alive: Callable[[], bool]) -> Iterator[asyncio.Task[None]]:
        """Start what runs as long as the daemon; `alive` tells whether Alertmanager is to hear a heartbeat."""
        yield group.create_task(self.outbox.run(), name="outbox")
        for sink in self._alertmanagers:
            yield group.create_task(sink.keep_alive(self._told, alive), name=f"alertmanager-{sink.name}")
        if self._heartbeat:
            yield group.create_task(self._heartbeat.run(), name="heartbeat")

    def _told(self) -> list[Occurrence]:
        """Return what Alertmanager is to be reminded of."""
        return [one for one in self.pipeline.active if one.told]

    def _left_to(self) -> str:
        """Return who alerts instead of our sinks: Prometheus, as long as it scrapes."""
        if self._authority != "prometheus":
            return ""
        age_seconds = (self._clock.now().monotonic_ns - self._scraped_ns) / 1e9
        return "Prometheus" if age_seconds <= self._stale_seconds else ""
