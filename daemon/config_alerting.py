"""The tables of the configuration that say what becomes of a finding: sinks, routes, maintenance, privacy.

Enters: TOML values. Leaves: frozen models, or ValueError with what would be right. Secrets are never in it, only
the names of files that hold them.
"""

import re
from collections.abc import Mapping
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from daemon.config_section import Seconds, Section
from daemon.errors import did_you_mean

_CLOCK = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
SINK_TYPES = ("webhook", "slack", "alertmanager", "pagerduty", "apprise", "journal", "stdout")
_WEB = r"^https?://[^/\s]+"
_WITH_USER = r"^https?://[^/\s]*@"


class Sink(Section):
    """Where notifications go."""

    name: str = Field(description="Name in metrics and in `presage`.", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    type: Literal["webhook", "slack", "alertmanager", "pagerduty", "apprise", "journal", "stdout"] = Field(
        description=f"Kind of sink: {', '.join(SINK_TYPES)}."
    )
    url: str = Field("", description='"http://..." or "https://..." of a webhook, an Alertmanager, or PagerDuty.')
    url_file: str = Field(
        "", description="File that holds the URL, when that is itself a secret: of Slack and Apprise always."
    )
    token_file: str = Field("", description="File that holds a bearer token, or the routing key of PagerDuty.")
    secret_file: str = Field(
        "", description="File that holds the secret a webhook is signed with; on a second line the one before it."
    )
    timeout_seconds: int = Field(10, ge=1, le=60, description="Longest wait for an answer.")

    @model_validator(mode="after")
    def _fits_its_type(self) -> "Sink":
        wanted, allowed = _SINK_KEYS[self.type]
        given = {key for key in _SINK_KEYS_ALL if getattr(self, key)}
        if strange := sorted(given - {*wanted, *allowed}):
            raise ValueError(f"{strange[0]} says nothing to a sink of type {self.type}; leave it out")
        if self.url and not re.match(_WEB, self.url):
            scheme, mark, _ = self.url.partition("://")  # what has no scheme may be a password: it is not shown
            shown = f', not "{scheme[:20]}://"' if mark and scheme.isalnum() else ""
            raise ValueError(f'url must begin with "http://" or "https://"{shown}')
        if re.match(_WITH_USER, self.url):
            raise ValueError("the url holds a password: put the whole url into a file and name it in url_file")
        if self.url and self.url_file:
            raise ValueError("give either url or url_file")
        if wanted and not given & set(wanted):
            raise ValueError(
                f"give {' or '.join(wanted)}" if len(wanted) == 1 else f"give either {' or '.join(wanted)}"
            )
        return self


# What a type of sink needs one of, and what it takes besides.
_SINK_KEYS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "webhook": (("url", "url_file"), ("token_file", "secret_file")),
    "slack": (("url_file",), ()),
    "alertmanager": (("url", "url_file"), ("token_file",)),
    "pagerduty": (("token_file",), ("url",)),
    "apprise": (("url_file",), ()),
    "journal": ((), ()),
    "stdout": ((), ()),
}
_SINK_KEYS_ALL = ("url", "url_file", "token_file", "secret_file")


class Matching(Section):
    """Which alerts are meant."""

    alertname: str = Field("", description='Alert that is meant, "" = any; a pattern like "Resource*".')
    resource: str = Field("", description='What the alert is about, "" = anything; a pattern like "/srv/*".')
    severity: Literal["", "critical", "warning", "info"] = Field("", description='Severity that is meant, "" = any.')
    network: str = Field("", description='What finds the alert ("host", "anomaly", ...), "" = any.')


class Route(Section):
    """Which sinks an alert goes to: the first route that takes it decides; without one, all are told."""

    sinks: tuple[str, ...] = Field(description="Names of sinks; [] keeps the alert to presaged.")
    severities: tuple[Literal["critical", "warning", "info"], ...] = Field((), description="Severities; [] = any.")
    networks: tuple[str, ...] = Field((), description='What finds the alert, like "host" or "anomaly"; [] = any.')
    alertnames: tuple[str, ...] = Field((), description='Names of alerts, patterns like "Resource*" too; [] = any.')
    resources: tuple[str, ...] = Field((), description='What they are about, patterns like "/srv/*" too; [] = any.')


class Maintenance(Matching):
    """When alerts are kept, week after week, and told only if they still fire afterwards."""

    name: str = Field(description="Name of the window.", min_length=1, max_length=63)
    weekdays: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        ("mon", "tue", "wed", "thu", "fri", "sat", "sun"), description="Days on which it opens."
    )
    start: str = Field(description='When it opens, like "22:00".', pattern=_CLOCK)
    end: str = Field(description='When it closes, on the next day where that is earlier, like "02:00".', pattern=_CLOCK)
    time_zone: str = Field("", description='Time zone, like "Europe/Berlin"; "" = the host\'s own.')

    @field_validator("time_zone", mode="after")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f'there is no time zone "{name}"; give one like "Europe/Berlin"') from None
        return name


class Escalation(Section):
    """Who is told of a page that nobody has acknowledged."""

    after_seconds: int = Field(0, ge=0, le=604_800, description="So long after it was told; 0 = never.")
    sinks: tuple[str, ...] = Field((), description="Names of sinks; without a route for them, used for this alone.")


class Heartbeat(Section):
    """A sign of life, sent after a sample is stored and scored: who expects it notices when it stops."""

    url: str = Field("", description='"https://..." that takes a POST; "" = none.')
    url_file: str = Field("", description="File that holds the URL, when the URL is itself a secret.")
    interval_seconds: Seconds = Field(60, description="Shortest time between two; never more than one a sample.")

    @model_validator(mode="after")
    def _one_url(self) -> "Heartbeat":
        if self.url and self.url_file:
            raise ValueError("give either url or url_file")
        if self.url and not re.match(_WEB, self.url):
            raise ValueError('url must begin with "http://" or "https://"')
        return self


class Alerting(Section):
    """What becomes of a finding."""

    authority: Literal["presaged", "alertmanager", "prometheus"] = Field(
        "presaged",
        description='Who alerts: "presaged" by its sinks, "alertmanager" by what is posted to it (a sink of that type),'
        ' "prometheus" by rules on /metrics: sinks are used only while nobody scrapes.',
    )
    units: tuple[str, ...] = Field(
        (), description='Units whose failure is a page, like "nginx.service"; patterns like "postgresql*" too.'
    )
    for_seconds: int = Field(60, ge=0, description="An anomaly must hold so long before it is an alert.")
    keep_firing_seconds: int = Field(300, ge=0, description="It must be gone so long before the alert is resolved.")
    change_grace_seconds: int = Field(
        900,
        ge=0,
        le=86_400,
        description="After `presage mark-change`, anomalies are recorded and not sent for so long.",
    )
    group_seconds: Seconds = Field(
        300, description="Alerts that begin within so long of the first are one group; news of it wait as long."
    )
    repeat_seconds: int = Field(
        14_400, ge=0, description="A page that fires and is not acknowledged is told again after so long; 0 = never."
    )
    rate_burst: int = Field(10, ge=4, le=1000, description="Most notifications to a sink in quick succession.")
    rate_per_hour: float = Field(
        30.0, ge=0, le=100_000, description="Most to a sink over time; the rest is told in one. 0 = no limit."
    )
    scrape_stale_seconds: Seconds = Field(
        180, description='With authority "prometheus": so long without a scrape, and the sinks are used.'
    )
    heartbeat: Heartbeat = Heartbeat()
    escalation: Escalation = Escalation()
    sinks: tuple[Sink, ...] = Field((), description="Where notifications go.")
    routes: tuple[Route, ...] = Field((), description="Which alerts go where.")
    maintenance: tuple[Maintenance, ...] = Field((), description="When alerts are kept.")

    @field_validator("sinks", mode="after")
    @classmethod
    def _unique(cls, sinks: tuple[Sink, ...]) -> tuple[Sink, ...]:
        names = [sink.name for sink in sinks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'two sinks are named "{name}"')
        return sinks

    @model_validator(mode="after")
    def _fits_together(self) -> "Alerting":
        types = {sink.name: sink.type for sink in self.sinks}
        for word, named in (
            ("escalation", self.escalation.sinks),
            *((f"route {number}", route.sinks) for number, route in enumerate(self.routes, 1)),
        ):
            for name in named:
                if name not in types:
                    hint = did_you_mean(name, types)
                    raise ValueError("; ".join(filter(None, (f'{word}: there is no sink "{name}"', hint))))
        receivers = [name for name, kind in types.items() if kind == "alertmanager"]
        if self.authority == "alertmanager" and not receivers:
            raise ValueError('authority "alertmanager" needs a sink of type alertmanager')
        if self.authority != "alertmanager" and receivers:
            raise ValueError(
                f'the sink "{receivers[0]}" is an Alertmanager: set authority = "alertmanager", or leave it out'
            )
        return self


class Privacy(Section):
    """What of other programs' words may leave this host."""

    log_text: Literal["redacted", "full", "none"] = Field(
        "redacted",
        description='Log lines and marked changes in notifications: "redacted" = without tokens, addresses and e-mail'
        ' addresses, "full", or "none".',
    )
