from dataclasses import fields
from datetime import datetime, time
from zoneinfo import ZoneInfo

import pytest

from alerting.dispatch import DispatchSettings
from alerting.limit import Limits
from alerting.mute import Maintenance
from alerting.policy import PolicySettings
from alerting.route import Escalation, Route
from alerting.silence import Match
from daemon import alert_settings
from daemon.alert_settings import host_zone, pipeline_settings
from daemon.config import Anomaly, Config
from daemon.config_alerting import Alerting, Sink
from daemon.config_alerting import Escalation as EscalationTable
from daemon.config_alerting import Maintenance as MaintenanceTable
from daemon.config_alerting import Route as RouteTable

HOOK = Sink(name="ops", type="webhook", url="https://example.org/hook")
BOSS = Sink(name="boss", type="stdout")
FULL = Alerting(
    for_seconds=30,
    keep_firing_seconds=90,
    group_seconds=120,
    repeat_seconds=1_800,
    rate_burst=20,
    rate_per_hour=12.5,
    sinks=(HOOK, BOSS),
    routes=(
        RouteTable(
            sinks=("ops",), severities=("critical",), networks=("host",), alertnames=("UnitFailed",), resources=("db*",)
        ),
        RouteTable(sinks=()),
    ),
    escalation=EscalationTable(after_seconds=900, sinks=("boss",)),
    maintenance=(
        MaintenanceTable(
            name="patches", weekdays=("sat", "sun"), start="22:00", end="02:30", time_zone="Europe/Berlin",
            alertname="Unit*", resource="/srv/*", severity="critical", network="host",
        ),
    ),
)  # fmt: skip


def test_the_defaults_are_those_of_alerting():
    """Two places say them, the configuration for people; they must not drift apart."""
    given = pipeline_settings(Config())
    default = DispatchSettings()
    for field in fields(DispatchSettings):
        if field.name != "repeat_seconds":  # to repeat is this program's choice, not a dispatcher's
            assert getattr(given.dispatch, field.name) == getattr(default, field.name), field.name
    assert given.dispatch.repeat_seconds == 14_400
    assert given.policy == PolicySettings("with_impact", 60.0, 300.0)
    assert given.maintenance == ()


def test_every_word_arrives():
    given = pipeline_settings(Config(alerting=FULL, anomaly=Anomaly(notify="always")))
    assert given.policy == PolicySettings("always", 30.0, 90.0)
    assert given.dispatch == DispatchSettings(
        routes=(
            Route(("ops",), frozenset({"critical"}), frozenset({"host"}), ("UnitFailed",), ("db*",)),
            Route(()),
        ),
        escalation=Escalation(900.0, ("boss",)),
        repeat_seconds=1_800.0,
        group_seconds=120.0,
        limits=Limits(20, 12.5),
    )
    (maintenance,) = given.maintenance
    assert maintenance == Maintenance(maintenance.window, Match("Unit*", "/srv/*", "critical", "host"))
    window = maintenance.window
    assert (window.name, window.weekdays) == ("patches", {5, 6})
    assert (window.start, window.end, window.zone) == (time(22), time(2, 30), ZoneInfo("Europe/Berlin"))


def test_where_an_alertmanager_alerts_what_it_does_itself_is_off():
    receiver = Sink(name="am", type="alertmanager", url="http://127.0.0.1:9093")
    alerting = FULL.model_copy(update={"authority": "alertmanager", "sinks": (receiver,)})
    given = pipeline_settings(Config.model_construct(**{**dict(Config()), "alerting": alerting}))
    assert given.dispatch.group_seconds == 0.0
    assert given.dispatch.routes == ()
    assert given.dispatch.escalation.after_seconds == 0.0
    assert given.dispatch.repeat_seconds == 0.0
    assert given.dispatch.limits.per_hour == 0.0
    assert len(given.maintenance) == 1


def test_without_a_time_zone_it_is_the_hosts():
    bare = FULL.model_copy(update={"maintenance": (MaintenanceTable(name="w", start="01:00", end="02:00"),)})
    (maintenance,) = pipeline_settings(Config(alerting=bare)).maintenance
    summer = datetime(2026, 7, 1, 12)  # noqa: DTZ001 - a time on the wall
    assert maintenance.window.zone.utcoffset(summer) == host_zone().utcoffset(summer) == summer.astimezone().utcoffset()
    assert maintenance.window.weekdays == set(range(7))


@pytest.mark.parametrize("content", [None, b"this is no time zone"])
def test_a_host_whose_time_zone_is_not_to_be_had_is_taken_for_utc(tmp_path, monkeypatch, content):
    file = tmp_path / "localtime"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setattr(alert_settings, "Path", lambda _: file)
    assert str(host_zone()) == "UTC"
