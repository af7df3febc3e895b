"""The small interface behind which every receiver of notifications stands.

Enters: one notification. Leaves: nothing, or a `DeliveryError`. A sink keeps no queue, never retries
and never decides what is worth sending: that is the outbox's and the policy's part.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Notification:
    """What is delivered. `id` is the same over retries; `payload` is the JSON text of the webhook schema."""

    id: str
    payload: str


class Sink(Protocol):
    """One receiver; `send` may be called again with the same notification, and with a test beside another."""

    @property
    def name(self) -> str:
        """The name in the configuration, in metrics and in the outbox."""
        ...

    @property
    def takes_digests(self) -> bool:
        """Whether it is for digests too; a pager, or an Alertmanager, is for alerts only."""
        ...

    async def send(self, notification: Notification) -> None:
        """Deliver, or raise DeliveryError. Returning means that the receiver has taken it."""
        ...
