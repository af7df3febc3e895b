"""What the files of a systemd unit say, with its drop-ins.

Enters: the root of the host, a unit, a section. Leaves: its settings, in the order in which they count. The files are
read because any user may: systemd itself answers over the bus only. Nothing is written, and nothing is expanded.
"""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# The order of systemd.unit(5): of files of one name the first counts.
_FOLDERS = (
    "etc/systemd/system.control", "run/systemd/system.control", "run/systemd/transient", "run/systemd/generator.early",
    "etc/systemd/system", "run/systemd/system", "run/systemd/generator", "usr/local/lib/systemd/system",
    "usr/lib/systemd/system", "lib/systemd/system", "run/systemd/generator.late",
)  # fmt: skip
_MOST_BYTES = 65_536
_MOST_FILES = 50


def unit_settings(root: Path, unit: str, section: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of a unit, names in small letters; a template's files stand for it. Nothing without a file."""
    kind = unit.rpartition(".")[2]
    template = f"{unit.partition('@')[0]}@.{kind}" if "@" in unit else unit
    names = dict.fromkeys((unit, template))
    files = (root / folder / name for name in names for folder in _FOLDERS)
    main = next((file for file in files if file.is_file()), None)
    if main is not None:
        yield from file_settings(main, section)
    more: dict[str, Path] = {}
    for folder in reversed(_FOLDERS):
        for name in (kind, template, unit):
            with suppress(OSError):
                more.update({file.name: file for file in (root / folder / f"{name}.d").glob("*.conf")})
    for _, file in sorted(more.items())[:_MOST_FILES]:
        yield from file_settings(file, section)


def file_settings(file: Path, wanted: str) -> Iterator[tuple[str, str]]:
    """Yield the settings of a section, names in small letters; nothing where the file cannot be read."""
    try:
        with file.open("rb") as opened:
            text = opened.read(_MOST_BYTES).decode(errors="replace")
    except OSError:
        return
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].lower()
        elif section == wanted and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield name.strip().lower(), value.strip()
