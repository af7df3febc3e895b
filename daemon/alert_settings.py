"""What the configuration says of alerts, in the words of `alerting`.

Enters: the configuration. Leaves: the pipeline's settings. Where Alertmanager alerts, what it does itself is off.
"""

from datetime import time
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from alerting.dispatch import DispatchSettings
from alerting.limit import Limits
from alerting.mute import Maintenance
from alerting.pipeline import PipelineSettings
from alerting.policy import PolicySettings
from alerting.route import Escalation, Route
from alerting.silence import Match
from alerting.timeinterval import WEEKDAYS, Window
from daemon.config import Config
from daemon.config_alerting import Alerting
from daemon.config_alerting import Maintenance as MaintenanceWindow


def pipeline_settings(given: Config) -> PipelineSettings:
    """Return the pipeline's settings."""
    return PipelineSettings(
        policy=PolicySettings(
            notify=given.anomaly.notify,
            for_seconds=float(given.alerting.for_seconds),
            keep_firing_seconds=float(given.alerting.keep_firing_seconds),
        ),
        dispatch=_dispatch(given.alerting),
        maintenance=tuple(_maintenance(one) for one in given.alerting.maintenance),
    )


def _dispatch(alerting: Alerting) -> DispatchSettings:
    if alerting.authority == "alertmanager":
        return DispatchSettings(group_seconds=0.0, limits=Limits(alerting.rate_burst, 0.0))
    return DispatchSettings(
        routes=tuple(
            Route(one.sinks, frozenset(one.severities), frozenset(one.networks), one.alertnames, one.resources)
            for one in alerting.routes
        ),
        escalation=Escalation(float(alerting.escalation.after_seconds), alerting.escalation.sinks),
        repeat_seconds=float(alerting.repeat_seconds),
        group_seconds=float(alerting.group_seconds),
        limits=Limits(alerting.rate_burst, alerting.rate_per_hour),
    )


def _maintenance(one: MaintenanceWindow) -> Maintenance:
    return Maintenance(
        Window(
            name=one.name,
            weekdays=frozenset(WEEKDAYS.index(day) for day in one.weekdays),
            start=time.fromisoformat(one.start),
            end=time.fromisoformat(one.end),
            zone=ZoneInfo(one.time_zone) if one.time_zone else host_zone(),
        ),
        Match(one.alertname, one.resource, one.severity, one.network),
    )


def host_zone() -> ZoneInfo:
    """Return the time zone of this host; UTC where that cannot be found out."""
    try:
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file, "host")
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return ZoneInfo("UTC")
