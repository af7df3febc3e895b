"""`presaged`: the daemon's entry point. Exit codes: 0 stopped, 1 failed, 2 bad usage or configuration."""

import argparse
import asyncio
import gc
import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: a pool of threads for 200 numbers costs more
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # to look for some, it reads what every package brings

from daemon.lean import lean_imports

with lean_imports():
    import structlog

    from daemon import __version__, log
    from daemon.app import App
    from daemon.config import load
    from daemon.errors import ConfigError, StateError
    from daemon.host_paths import find_host, keep_time_of
    from daemon.preflight import prepare
    from detectors.kernels import bound_heap, release_memory

_log = structlog.get_logger()


def main() -> int:
    """Run the daemon and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="presaged",
        description="Learns what is normal on this host and says what is not. The operator's command is `presage`.",
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration file (default: /etc/presaged/config.toml)"
    )
    parser.add_argument(
        "--root-fs",
        type=Path,
        metavar="DIR",
        help="in a container: where the host's root is mounted (default: $PRESAGED_ROOT_FS, else /)",
    )
    parser.add_argument(
        "--proc",
        type=Path,
        metavar="DIR",
        help="in a container: the host's /proc (default: $PRESAGED_PROC, else proc below --root-fs)",
    )
    parser.add_argument("--version", action="version", version=f"presaged {__version__}")
    arguments = parser.parse_args()
    try:
        loaded = load(arguments.config)
        log.set_up(loaded.config.log)
        log.warn_of_keys(loaded)
        paths = find_host(arguments.root_fs, arguments.proc)
        prepared = prepare(loaded)
    except ConfigError as error:
        sys.stderr.write(f"presaged: cannot start: {error}\n")
        return 2
    keep_time_of(paths)
    os.umask(0o077)  # what we keep is nobody else's, the databases' side files included
    bound_heap()
    gc.freeze()  # what the imports made lives for ever: no collection has to look at it
    release_memory()  # starting takes as much again: the code that only imports ran need not stand beside it
    try:
        asyncio.run(App(loaded, prepared, paths=paths).run())
    except StateError as error:
        sys.stderr.write(f"presaged: cannot start: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
