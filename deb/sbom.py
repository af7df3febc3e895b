"""The bill of materials, in CycloneDX 1.6: what the package holds, with the checksum of each wheel it came from.

Enters: the folder into which everything was installed, and pip's report of what it took. Leaves: JSON text, the same
for the same contents. No address of where it was downloaded is in it.
"""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_PRODUCT = "presaged"


def checksums(report: Mapping[str, object]) -> dict[str, str]:
    """Return the SHA-256 of each wheel by name, out of a report of `pip install --report`."""
    installed = report["install"]
    assert isinstance(installed, list)  # noqa: S101 - pip's format, version 1
    return {
        canonicalize_name(one["metadata"]["name"]): one["download_info"]["archive_info"]["hashes"]["sha256"]
        for one in installed
    }


def bill(site: Path, hashes: Mapping[str, str], *, time_seconds: int) -> str:
    """Return the document for all that is installed in `site`; `time_seconds` is what stands for the time of it."""
    installed = {str(canonicalize_name(one.name)): one for one in metadata.distributions(path=[str(site)])}
    components = {name: _component(name, one, hashes.get(name)) for name, one in sorted(installed.items())}
    product = components.pop(_PRODUCT)
    document: dict[str, object] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(time_seconds, UTC).isoformat().replace("+00:00", "Z"),
            "component": {**product, "type": "application"},
        },
        "components": list(components.values()),
        "dependencies": [
            {"ref": _purl(name, one.version), "dependsOn": _required(one, installed)}
            for name, one in sorted(installed.items())
        ],
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    return json.dumps({**document, "serialNumber": f"urn:uuid:{number}"}, indent=1, sort_keys=True) + "\n"


def _component(name: str, one: metadata.Distribution, checksum: str | None) -> dict[str, object]:
    found: dict[str, object] = {
        "type": "library",
        "name": name,
        "version": one.version,
        "purl": _purl(name, one.version),
        "bom-ref": _purl(name, one.version),
    }
    if checksum:
        found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if licence := _licence(one):
        found["licenses"] = [licence]
    return found


def _licence(one: metadata.Distribution) -> dict[str, object] | None:
    """An expression of SPDX where the distribution gives one, else the name that it gives."""
    told = one.metadata
    if expression := _field(told, "License-Expression"):
        return {"expression": expression}
    classified = [
        line.rpartition(" :: ")[2] for line in told.get_all("Classifier", []) if line.startswith("License ::")
    ]
    name = classified[0] if classified else _field(told, "License").strip().partition("\n")[0]
    return {"license": {"name": name[:100]}} if name else None


def _field(told: metadata.PackageMetadata, name: str) -> str:
    return told[name] if name in told else ""  # noqa: SIM401 - a message of e-mail: its types know no `get`


def _required(one: metadata.Distribution, installed: Mapping[str, metadata.Distribution]) -> list[str]:
    names = set()
    for requirement in map(Requirement, one.requires or ()):
        name = canonicalize_name(requirement.name)
        if name in installed and (not requirement.marker or requirement.marker.evaluate({"extra": ""})):
            names.add(_purl(name, installed[name].version))
    return sorted(names)


def _purl(name: str, version: str) -> str:
    return f"pkg:pypi/{name}@{version}"
