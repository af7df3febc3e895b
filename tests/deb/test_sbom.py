"""The bill of materials: from what is installed, the same for the same."""

import json

import pytest

from deb import sbom

REPORT = {
    "install": [
        {
            "metadata": {"name": "Some.Thing"},
            "download_info": {"url": "u", "archive_info": {"hashes": {"sha256": "ab" * 32}}},
        }
    ]
}


@pytest.fixture
def site(tmp_path):
    def put(name, version, *lines):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        head = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"
        (folder / "METADATA").write_text(head + "".join(f"{line}\n" for line in lines))

    put("presaged", "1.2", "License-Expression: Apache-2.0", "Requires-Dist: some-thing>=1", "Requires-Dist: numba")
    put("Some.Thing", "3", "Classifier: License :: OSI Approved :: MIT License", "Requires-Dist: x ; extra == 'x'")
    put("plain", "4", "License: BSD\n        with more lines")
    put("silent", "5")
    return tmp_path


def test_it_names_all_that_is_installed(site):
    bill = json.loads(sbom.bill(site, sbom.checksums(REPORT), time_seconds=86_400))
    assert (bill["bomFormat"], bill["specVersion"], bill["metadata"]["timestamp"]) == (
        "CycloneDX",
        "1.6",
        "1970-01-02T00:00:00Z",
    )
    product = bill["metadata"]["component"]
    assert (product["name"], product["type"], product["licenses"]) == (
        "presaged",
        "application",
        [{"expression": "Apache-2.0"}],
    )
    found = {one["name"]: one for one in bill["components"]}
    assert set(found) == {"some-thing", "plain", "silent"}
    assert found["some-thing"]["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert found["some-thing"]["licenses"] == [{"license": {"name": "MIT License"}}]
    assert found["plain"]["licenses"] == [{"license": {"name": "BSD"}}]
    assert "licenses" not in found["silent"]
    needs = {one["ref"]: one["dependsOn"] for one in bill["dependencies"]}
    assert needs["pkg:pypi/presaged@1.2"] == ["pkg:pypi/some-thing@3"]
    assert needs["pkg:pypi/some-thing@3"] == []


def test_the_same_contents_give_the_same_bill_and_others_another_number(site):
    one, same, other = (sbom.bill(site, {}, time_seconds=at) for at in (5, 5, 6))
    assert one == same
    assert json.loads(one)["serialNumber"] != json.loads(other)["serialNumber"]
    assert json.loads(one)["serialNumber"].startswith("urn:uuid:")
