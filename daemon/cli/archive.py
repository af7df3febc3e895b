"""A tar.gz that is there whole or not at all, and that nobody but its maker may read.

Enters: where it is to be. Leaves: an archive to fill, then the file. What fails leaves nothing behind.
"""

import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_archive(file: Path) -> Iterator[tarfile.TarFile]:
    """Open the archive `file` to be filled. Raises OSError where it cannot be written."""
    partial = file.with_name(f".{file.name}.partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
            yield archive
        partial.replace(file)
    except BaseException:  # of whoever fills it, too, and at Ctrl-C: half an archive is none
        partial.unlink(missing_ok=True)
        raise
