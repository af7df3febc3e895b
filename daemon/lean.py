"""Importing without what three libraries do at import and the daemon never uses: 6 MB, and a sixth of a start."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from types import ModuleType

_UNUSED = ("rich", "greenlet")
_POOLS = ("multiprocessing", "concurrent.futures.process")


@contextmanager
def lean_imports() -> Iterator[None]:
    """Import inside, before anything else has imported structlog or aiohttp.

    structlog takes rich for tracebacks in colour where it finds it, and greenlet for contexts; ours are plain, and of
    asyncio. APScheduler can run jobs in pools of processes; ours run on the event loop. aiohttp reads all certificate
    authorities twice, for clients that bring no context of their own; every sink brings one.
    """
    authorities = {name: os.environ.get(name) for name in ("SSL_CERT_FILE", "SSL_CERT_DIR")}
    os.environ |= dict.fromkeys(authorities, os.devnull)
    hidden = [name for name in _UNUSED if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # the import system's own way to say: not here
    pools = {name: ModuleType(name) for name in _POOLS if name not in sys.modules}
    for module in pools.values():
        module.__dict__["BrokenProcessPool"] = BrokenExecutor
    sys.modules |= pools
    try:
        yield
    finally:
        for name in (*hidden, *pools):
            del sys.modules[name]
        for name, value in authorities.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
