"""Every error that alerting raises on purpose. The daemon's own tree stands in `daemon.errors`.

AlertingError
├── UnknownAlert     a finding carries a name that is not in the policy table: a bug, it stops the daemon
├── StoreError       the database did not take or give something: counted, tried again
└── DeliveryError    a sink did not take a notification: counted, tried again unless permanent
"""


class AlertingError(Exception):
    """Root of the tree: its text is one readable sentence for an operator."""


class UnknownAlert(AlertingError):
    """A finding names an alert that the policy table does not hold."""


class StoreError(AlertingError):
    """The store could not do what was asked; nothing of it may be taken as done."""


class DeliveryError(AlertingError):
    """A sink did not take a notification.

    `permanent` means that no retry of the same body can succeed. `retry_after_seconds` is the
    receiver's own wish, a lower bound of the next wait. The text never holds a URL or a token.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, permanent: bool = False) -> None:
        self.retry_after_seconds = retry_after_seconds
        self.permanent = permanent
        super().__init__(message)
