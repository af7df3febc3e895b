"""Importing without what two libraries do at import and the daemon never uses: 5 MB, and a sixth of a start."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def lean_imports() -> Iterator[None]:
    """Import inside, before anything else has imported structlog or aiohttp.

    structlog takes rich for tracebacks in colour where it finds it; ours are plain. aiohttp reads all
    certificate authorities twice, for clients that bring no context of their own; every sink brings one.
    """
    authorities = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    os.environ |= dict.fromkeys(authorities, os.devnull)
    hidden = "rich" not in sys.modules
    if hidden:
        sys.modules["rich"] = None  # type: ignore[assignment]  # the import system's own way to say: not here
    try:
        yield
    finally:
        if hidden:
            del sys.modules["rich"]
        for name, value in authorities.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
