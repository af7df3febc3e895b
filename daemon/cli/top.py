"""`presage top`."""

def watch_host() -> None:
    """Watch."""
