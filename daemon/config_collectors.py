"""The tables of the configuration that say what is asked of applications.

Enters: TOML values. Leaves: frozen models, or ValueError with what would be right.
"""

import re
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from daemon.config_section import Section

MOST_METRICS = 50
_METRIC = r"[a-zA-Z_:][a-zA-Z0-9_:]*"


class Application(Section):
    """Figures that an application tells itself: a Prometheus endpoint or a folder of *.prom files."""

    name: str = Field(description="Name in signals, like app.NAME.queue_depth.", pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    url: str = Field("", description='Prometheus endpoint, like "http://127.0.0.1:8000/metrics".')
    directory: str = Field("", description="Folder of *.prom files; one not written for ten intervals is stale.")
    metrics: tuple[str, ...] = Field(
        description="Metrics to read, summed over labels; counters become rates, a histogram or summary its mean."
    )

    @model_validator(mode="after")
    def _one_source(self) -> "Application":
        if bool(self.url) == bool(self.directory):
            raise ValueError("give either url or directory")
        if self.url and "@" in self.url.partition("://")[2].partition("/")[0]:
            raise ValueError("the url holds a password: an endpoint that asks for none would be right")
        if self.url and not _is_url(self.url):
            raise ValueError('url must be like "http://127.0.0.1:8000/metrics"')
        if self.directory and not self.directory.startswith("/"):
            raise ValueError('directory must begin with "/"')
        for metric in self.metrics:
            if not re.fullmatch(_METRIC, metric):
                raise ValueError("metrics must be names without labels, like http_requests_total")
            if metric.endswith("_bucket"):
                raise ValueError("buckets say nothing as a sum: name the histogram, and its mean is read")
        if not self.metrics or len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics must name at least one, and each once")
        return self


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and text.isascii()
    except ValueError:  # a port of 70000, or an address with one bracket
        return False


def check_applications(applications: tuple[Application, ...]) -> tuple[Application, ...]:
    """Return what is given. Raises ValueError when two have one name, or all together ask for too much."""
    names = [application.name for application in applications]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f'two applications are named "{name}"')
    metrics = sum(len(application.metrics) for application in applications)
    if metrics > MOST_METRICS:
        raise ValueError(f"{metrics} metrics are named in all: {MOST_METRICS} at most would be right")
    return applications
