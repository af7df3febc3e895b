"""Machine code in a folder, beside a manifest of what it was made from: written whole, checked before it is loaded."""

import hashlib
import json
import os
from functools import cache as remember
from pathlib import Path

from detectors.kernels.backend import BackendError

MANIFEST = "manifest.json"


@remember
def source_key() -> str:
    """Return the hash of all kernel sources: what was made from others does not serve."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def write_checked(folder: Path, name: str, code: bytes) -> None:
    """Write a file and its line in the manifest, each by a rename: the file last, so it counts only when whole."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        manifest = {}
    if manifest.get("source") != source_key():
        manifest = {"source": source_key(), "files": {}}
    manifest["files"][name] = hashlib.sha256(code).hexdigest()
    for path, content in ((folder / MANIFEST, json.dumps(manifest, indent=1).encode()), (folder / name, code)):
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_bytes(content)
        fresh.replace(path)


def checked(folder: Path, name: str) -> Path:
    """Return the path of a file that is what its manifest says. Raises OSError or BackendError."""
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    if manifest["source"] != source_key():
        raise BackendError(f"{folder / name} was made from other kernel sources")
    path = folder / name
    if name not in manifest["files"]:
        raise BackendError(f"{path} is not in its manifest")
    if hashlib.sha256(path.read_bytes()).hexdigest() != manifest["files"][name]:
        raise BackendError(f"{path} is not the file that was built: its hash differs")
    return path
