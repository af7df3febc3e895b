"""Asks systemd about its units: `systemctl show`, a child with a deadline that takes no privilege, only the bus."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress

from daemon.collectors.base import HostPaths
from daemon.errors import NotAvailable

_ASK_SECONDS = 5.0
_MOST_BYTES = 1 << 20


class Systemctl:
    """Asks. `command` is a seam for tests."""

    def __init__(self, paths: HostPaths, command: Sequence[str] = ("systemctl",)) -> None:
        self._booted = paths.root / "run" / "systemd" / "system"
        self._command = command

    async def show(self, *arguments: str) -> list[dict[str, str]]:
        """Return the properties of each unit that is asked for. Raises NotAvailable, with the reason in one line."""
        if not self._booted.is_dir():  # sd_booted(3)
            raise NotAvailable("systemd does not run this host")
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                "show",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_MOST_BYTES,
                env={"LC_ALL": "C", "TZ": "UTC", "PATH": os.environ.get("PATH", os.defpath)},
            )
        except OSError as error:
            raise NotAvailable(f"{self._command[0]}: {error.strerror}") from error
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                said, complaint = await process.communicate()
        except TimeoutError:
            raise NotAvailable(f"{self._command[0]} gave no answer within {_ASK_SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode:
            last = " ".join(complaint.decode(errors="replace").strip().splitlines()[-1:])[:200]
            raise NotAvailable(last or f"{self._command[0]} ended with code {process.returncode}")
        return list(units_of(said.decode("utf-8", "backslashreplace")))


def units_of(text: str) -> Iterator[dict[str, str]]:
    """Yield the properties of each unit in an answer: one a line, units parted by an empty line."""
    for block in text.split("\n\n"):
        unit = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if unit.get("Id"):
            yield unit
