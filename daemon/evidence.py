"""What a finding is told with: who took what, what was changed before, and when it was like this.

Enters: one round of the collectors and the detector's verdict. Leaves: all findings with their
evidence. Whatever fails here costs evidence, never the finding.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import structlog

from alerting.alert import Event, Transition
from daemon.changes import ChangeLog
from daemon.clock import Instant
from daemon.culprits import Culprits
from daemon.errors import PresagedError
from daemon.offload import Offload
from daemon.precedents import Precedents
from daemon.sampler import Round
from detectors.findings import Change, ChangeKind, Culprit, Finding, Resource, Strength

_log = structlog.get_logger()

_SCAN_SECONDS = 1.0
_OF_MEMORY = ("memory", "swap")  # of the resources of capacity; all others are mounts


class Evidence:
    """Gathers it once a tick; on a calm one it only learns."""

    def __init__(
        self,
        *,
        culprits: Culprits,
        changes: ChangeLog,
        precedents: Precedents,
        offload: Offload,
        redact: Callable[[str], str] = str,
    ) -> None:
        self._redact = redact
        self._culprits = culprits
        self._changes = changes
        self._precedents = precedents
        self._offload = offload

    async def gather(self, round_: Round, findings: Sequence[Finding], now: Instant) -> tuple[Finding, ...]:
        """Keep what was noticed; return the facts of the round, and the detector's `findings` with all evidence."""
        await self._changes.note(round_.noticed, now)
        if not findings:
            self._culprits.calm(round_.units)
        if not findings and not round_.findings:
            return ()
        change = self._changes.before(now.time_ms)
        if change is not None and change.kind is ChangeKind.MARK:
            change = replace(change, text=self._redact(change.text))
        facts = [
            replace(fact, change=change, culprits=fact.culprits or self._fillers(fact, round_))
            for fact in round_.findings
        ]
        raised = [finding for finding in findings if finding.strength is Strength.RAISED]
        if not raised:
            return (*facts, *findings)
        told = await self._told(raised[0], round_, change, now)  # they are of one moment, and so is their evidence
        return (
            *facts,
            *(
                replace(one, culprits=told.culprits, change=told.change, precedent=told.precedent)
                if one.strength is Strength.RAISED
                else one
                for one in findings
            ),
        )

    def _fillers(self, fact: Finding, round_: Round) -> tuple[Culprit, ...]:
        """Return who fills what capacity tells of, by units alone: to look at processes costs too much for days."""
        if fact.network != "capacity" or fact.strength is not Strength.RAISED:
            return ()
        resource = Resource.MEMORY if fact.resource in _OF_MEMORY else Resource.WRITES
        return self._culprits.taking(resource, round_.units)

    async def _told(self, finding: Finding, round_: Round, change: Change | None, now: Instant) -> Finding:
        culprits: tuple[Culprit, ...] = ()
        try:
            culprits = await self._offload.run(
                lambda: self._culprits.name(finding.contributors, round_.units, now.monotonic_ns),
                deadline_seconds=_SCAN_SECONDS,
                what="processes",
            )
        except (PresagedError, OSError) as error:
            _log.warning("culprits_unknown", reason=str(error))
        return replace(
            finding,
            culprits=culprits,
            change=change,
            precedent=self._precedents.most_like(finding.contributors),
        )

    def in_grace(self, now: Instant) -> bool:
        """Tell whether an operator has just marked a change: what is unusual now is recorded, not sent."""
        return self._changes.in_grace(now)

    def settle(self, transitions: Iterable[Transition]) -> None:
        """Let what was resolved be a precedent of what comes."""
        self._precedents.learn(one.occurrence for one in transitions if one.event is Event.RESOLVED)
