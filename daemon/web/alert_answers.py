"""What the operator's desk is asked and answers about alerts, as typed models: for the API and for `presage`.

Enters: alerts, verdicts and silences; request bodies. Leaves: answers, or ValueError with what would be right. The
evidence has the names that it has in a webhook. It loads nothing heavy: `presage` reads these answers too.
"""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from alerting.occurrence import finite
from alerting.policy import RULES
from alerting.render import by_role, one_line, rfc3339
from alerting.verdict import Recurrence, VerdictKind
from daemon.web.api import AlertAnswer, Answer, ChangeAnswer, alert_answer, change_answer, one_line_text

if TYPE_CHECKING:
    from alerting.occurrence import Occurrence
    from alerting.silence import Silence
    from alerting.verdict import Verdict
    from daemon.state import Delivery
    from detectors.findings import Contributor, Finding

MAX_AUTHOR = 100  # letters
MAX_COMMENT = 500
MAX_PATTERN = 500
LONGEST_SILENCE_SECONDS = 365 * 86_400


class ContributorAnswer(Answer):
    """One signal's part in an alert; `unit` as in a webhook, what is not known is null."""

    signal: str
    family: str
    resource: str
    value: float | None
    unit: str
    expected_low: float | None
    expected_high: float | None
    surprise: float | None
    direction: str | None
    recent_low: float | None
    recent_high: float | None
    network_share: float | None


class CulpritAnswer(Answer):
    """Who took an unusual part of what; shares are of the host's use."""

    unit: str
    process: str
    resource: str
    share: float | None
    usual_share: float | None
    times_usual: float | None


class VictimAnswer(Answer):
    """Who waited unusually long for what."""

    unit: str
    waits_for: str
    share_of_time: float | None
    usual_share_of_time: float | None


class PrecedentAnswer(Answer):
    """The earlier alert that is most like this one."""

    occurrence: str
    started_at: str
    lasted_seconds: float | None
    likeness: float | None


class DeliveryAnswer(Answer):
    """One notification that tells of the alert; `event` and `reason` are what it tells, `state` where it stands."""

    id: str
    sink: str
    event: str
    reason: str
    state: str
    attempts: int
    error: str | None


class VerdictAnswer(Answer):
    """What somebody said of an alert; one that was undone does not count.

    `every`: what was expected comes again each "day" or "week", "" = at any hour. `effect` says what it changes,
    "" where that is nothing or another verdict counts.
    """

    verdict: str
    author: str
    comment: str
    at: str
    undone_at: str | None
    every: str = ""
    effect: str = ""


class SilenceAnswer(Answer):
    """A silence; "" means any. `takes` says in words which alerts are meant."""

    id: str
    alertname: str
    resource: str
    severity: str
    network: str
    takes: str
    starts_at: str
    ends_at: str
    author: str
    comment: str


class AlertsAnswer(Answer):
    """`GET /api/v1/alerts`: the newest first; `next` is the cursor of the page after this one."""

    alerts: list[AlertAnswer]
    next: str | None = None


class EvidenceAnswer(Answer):
    """What an alert or a finding rests on."""

    contributors: list[ContributorAnswer]
    culprits: list[CulpritAnswer]
    victims: list[VictimAnswer]
    change: ChangeAnswer | None
    precedent: PrecedentAnswer | None


class AlertDetail(AlertAnswer, EvidenceAnswer):
    """`GET /api/v1/alerts/{id}`: all that is known of one alert. `owed`: somebody is still to be told of it."""

    fingerprint: str
    network: str
    meaning: str
    score: float | None
    threshold: float | None
    acknowledged_at: str | None
    owed: bool
    deliveries: list[DeliveryAnswer]
    verdicts: list[VerdictAnswer]
    silences: list[SilenceAnswer]


class FeedbackAnswer(Answer):
    """The verdict on an alert that counts now, null without one; `changed` says what is other than before."""

    occurrence: str
    verdict: VerdictAnswer | None
    changed: list[str]


class JudgedAnswer(VerdictAnswer):
    """A verdict that changes something now; `until` is when that ends by itself, null = with the samples."""

    occurrence: str
    until: str | None


class VerdictsAnswer(Answer):
    """`GET /api/v1/verdicts`: what verdicts change now, the oldest first; `threshold`: what they make of it."""

    threshold: str
    verdicts: list[JudgedAnswer]
    next: str | None = None


class SilencesAnswer(Answer):
    """`GET /api/v1/silences`: those that are not over, the oldest first."""

    silences: list[SilenceAnswer]
    next: str | None = None


class DrillAnswer(Answer):
    """A drill is to come: its alert is named Drill, has an id above `after`, and fires at the next sample."""

    after: str
    interval_seconds: float
    sinks: list[str]


class SinkTestAnswer(Answer):
    """How a test of a sink ended; `error` is null when it took the notification."""

    sink: str
    id: str
    error: str | None
    seconds: float


def _name(text: str) -> str:
    if not text.strip():
        raise ValueError("give a name")
    return one_line_text(text)


Author = Annotated[str, Field(min_length=1, max_length=MAX_AUTHOR), AfterValidator(_name)]
Comment = Annotated[str, Field(max_length=MAX_COMMENT), AfterValidator(one_line_text)]
Pattern = Annotated[str, Field(max_length=MAX_PATTERN), AfterValidator(one_line_text)]


class AskedBy(BaseModel):
    """A body that says who asks, as they call themselves."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    author: Author


class TakenBackBy(AskedBy):
    """The body of a DELETE, which may have none."""

    author: Author = "somebody"


class FeedbackRequest(AskedBy):
    """`POST /api/v1/alerts/{id}/feedback`."""

    verdict: VerdictKind
    comment: Comment = ""
    every: Recurrence = Recurrence.NONE

    @model_validator(mode="after")
    def _only_what_is_expected_comes_again(self) -> "FeedbackRequest":
        if self.every and self.verdict is not VerdictKind.EXPECTED:
            raise ValueError("every goes with the verdict expected only")
        return self


class SilenceRequest(AskedBy):
    """`POST /api/v1/silences`: which alerts, for how long or until when. All of them only with `everything`."""

    alertname: Pattern = ""
    resource: Pattern = ""
    severity: Literal["", "critical", "warning", "info"] = ""
    network: Pattern = ""
    everything: bool = False
    for_seconds: int | None = Field(None, ge=1, le=LONGEST_SILENCE_SECONDS)
    until: AwareDatetime | None = None
    comment: Comment = ""

    @model_validator(mode="after")
    def _fits_together(self) -> "SilenceRequest":
        some = bool(self.alertname or self.resource or self.severity or self.network)
        if some and self.everything:
            raise ValueError("give either everything or what is to be silenced")
        if not some and not self.everything:
            raise ValueError("give alertname, resource, severity or network, or everything = true")
        if (self.for_seconds is None) == (self.until is None):
            raise ValueError("give either for_seconds or until")
        return self


def alert_detail(
    occurrence: "Occurrence",
    muted: Mapping[str, str],
    *,
    deliveries: "Iterable[Delivery]",
    verdicts: "Iterable[Verdict]",
    effects: Mapping[str, str],
    silences: "Iterable[Silence]",
) -> AlertDetail:
    """Return all about an alert; of `deliveries`, the notifications of its group, those that tell of it are shown.

    `effects`: what verdicts change, in words, by their id.
    """
    acknowledged, rule = occurrence.acknowledged, RULES.get(occurrence.alertname)
    return AlertDetail(
        **alert_answer(occurrence, muted).model_dump(),
        **evidence_answer(occurrence).model_dump(),
        fingerprint=occurrence.fingerprint,
        network=occurrence.network,
        meaning="" if rule is None else rule.summary,
        score=finite(occurrence.score),
        threshold=finite(occurrence.threshold),
        acknowledged_at=None if acknowledged is None else rfc3339(acknowledged.time_ms),
        owed=occurrence.owed,
        deliveries=[told for delivery in deliveries if (told := _delivery(delivery, occurrence.id)) is not None],
        verdicts=[verdict_answer(verdict, effects.get(verdict.id, "")) for verdict in verdicts],
        silences=[silence_answer(silence) for silence in silences],
    )


def evidence_answer(one: "Occurrence | Finding") -> EvidenceAnswer:
    """Return what an alert or a finding rests on."""
    change, precedent = one.change, one.precedent
    takers, victims = by_role(one.culprits)
    return EvidenceAnswer(
        contributors=[_contributor(part) for part in one.contributors],
        culprits=[
            CulpritAnswer(
                unit=one_line(who.unit),
                process=one_line(who.process),
                resource=who.resource.name.lower(),
                share=finite(who.share),
                usual_share=finite(who.usual),
                times_usual=finite(who.times),
            )
            for who in takers
        ],
        victims=[
            VictimAnswer(
                unit=one_line(who.unit),
                waits_for=who.resource.name.lower().removesuffix("_wait"),
                share_of_time=finite(who.share),
                usual_share_of_time=finite(who.usual),
            )
            for who in victims
        ],
        change=None if change is None else change_answer(change),
        precedent=None
        if precedent is None
        else PrecedentAnswer(
            occurrence=precedent.occurrence,
            started_at=rfc3339(precedent.started_ms),
            lasted_seconds=finite(precedent.lasted_seconds),
            likeness=finite(precedent.likeness),
        ),
    )


def verdict_answer(verdict: "Verdict", effect: str) -> VerdictAnswer:
    """Return a verdict as the interface tells it, with what it changes."""
    return VerdictAnswer(
        verdict=verdict.kind.value,
        author=verdict.author,
        comment=verdict.comment,
        at=rfc3339(verdict.time_ms),
        undone_at=None if verdict.undone_ms is None else rfc3339(verdict.undone_ms),
        every=verdict.every.value,
        effect=effect,
    )


def silence_answer(silence: "Silence") -> SilenceAnswer:
    """Return a silence as the interface tells it."""
    match = silence.match
    return SilenceAnswer(
        id=silence.id,
        alertname=match.alertname,
        resource=match.resource,
        severity=match.severity,
        network=match.network,
        takes=str(match),
        starts_at=rfc3339(silence.starts_ms),
        ends_at=rfc3339(silence.ends_ms),
        author=silence.author,
        comment=silence.comment,
    )


def _contributor(part: "Contributor") -> ContributorAnswer:
    return ContributorAnswer(
        signal=one_line(part.signal),
        family=part.family,
        resource=one_line(part.resource),
        value=finite(part.value),
        unit=part.unit.name.lower(),
        expected_low=finite(part.expected_low),
        expected_high=finite(part.expected_high),
        surprise=finite(part.surprise),
        direction=part.direction.value or None,
        recent_low=finite(part.recent_low),
        recent_high=finite(part.recent_high),
        network_share=finite(part.network_share),
    )


def _delivery(delivery: "Delivery", occurrence: str) -> DeliveryAnswer | None:
    """Return what a notification tells of the alert, None when it tells of others; its document is ours."""
    document = json.loads(delivery.payload)
    told = next((part for part in (document, *document.get("also", ())) if part.get("occurrence") == occurrence), None)
    if told is None:
        return None
    return DeliveryAnswer(
        id=delivery.id,
        sink=delivery.sink,
        event=told["event"],
        reason=told.get("reason", ""),  # a notification of before an update has none
        state=delivery.state,
        attempts=delivery.attempts,
        error=delivery.last_error,
    )
