"""Finding -> alert -> outbox -> sink. Knows of `detectors` only its findings, and nothing of `daemon`."""
