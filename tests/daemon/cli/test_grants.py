"""Which drop-ins `presage doctor` prints: from the unit's files alone."""

from pathlib import Path

import pytest

from daemon.cli import doctor, grants
from daemon.cli.grants import missing_grants, read_sandbox, secret_files
from daemon.config import load

SYSTEMD = Path(__file__).parents[3] / "systemd"
SLACK = '[[alerting.sinks]]\nname = "team"\ntype = "slack"\nurl_file = "slack-url"\n'


@pytest.fixture
def install(tmp_path):
    """Install the shipped unit with drop-ins, by name or as text; return what its files say."""

    def done(*drop_ins):
        folder = tmp_path / "lib/systemd/system"
        (folder / "presaged.service.d").mkdir(parents=True)
        (folder / "presaged.service").write_text((SYSTEMD / "presaged.service").read_text())
        for number, one in enumerate(drop_ins):
            text = one if "=" in one else (SYSTEMD / f"drop-ins/{one}.conf").read_text()
            name = f"{number}" if "=" in one else one
            (folder / f"presaged.service.d/{name}.conf").write_text(text)
        return read_sandbox(tmp_path)

    return done


@pytest.fixture
def configured(tmp_path):
    def done(text=""):
        (tmp_path / "config.toml").write_text(text)
        return load(tmp_path / "config.toml", {})

    return done


@pytest.fixture(autouse=True)
def _compiled(monkeypatch):
    monkeypatch.setattr(grants, "_COMPILED", Path("/"))


def needed(unit, loaded):
    return [one.name for one in missing_grants(unit, loaded) if not one.is_optional]


def test_the_shipped_unit_grants_all_that_is_needed(install, configured):
    assert needed(install(), configured()) == []


def test_the_full_profile_leaves_nothing_to_grant(install, configured):
    assert list(missing_grants(install("full"), configured())) == []


def test_the_minimal_profile_lacks_journal_processes_and_homes(install, configured):
    unit = install("minimal")
    assert needed(unit, configured()) == ["journal", "processes", "home"]
    assert [one.name for one in missing_grants(unit, configured()) if one.is_optional] == ["network", "full"]


@pytest.mark.parametrize(
    ("address", "expected"), [("https://example.org/x", ["network"]), ("http://127.0.0.1:9/x", [])]
)
def test_a_sink_elsewhere_needs_more_than_this_host(install, configured, address, expected):
    sink = f'[[alerting.sinks]]\nname = "hook"\ntype = "webhook"\nurl = "{address}"\n'
    assert needed(install("localhost"), configured(sink)) == expected


def test_numba_needs_executable_memory_where_nothing_is_compiled(install, configured, monkeypatch, tmp_path):
    monkeypatch.setattr(grants, "_COMPILED", tmp_path / "none")
    unit = install()
    assert needed(unit, configured('[compute]\nbackend = "jit"\n')) == ["jit"]
    assert needed(unit, configured('[compute]\nbackend = "numpy"\n')) == []
    assert needed(unit, configured()) == []  # NumPy serves: that is no fault


def test_secrets_of_root_are_handed_over_by_name(install, configured, tmp_path):
    loaded = configured(SLACK)
    secret = tmp_path / "slack-url"
    secret.write_text("https://hooks.example.org/services/T0/B0/hidden")
    secret.chmod(0o600)
    (grant,) = (one for one in missing_grants(install(), loaded) if one.name == "credentials")
    assert grant.lines == (f"LoadCredential=slack-url:{secret}",)
    assert "hidden" not in grant.drop_in + grant.lost
    secret.chmod(0o644)
    assert needed(read_sandbox(tmp_path), loaded) == []


def test_a_secret_beside_a_credential_must_be_one_too(install, configured, tmp_path):
    (tmp_path / "key").write_text("x")
    other = '[[alerting.sinks]]\nname = "hook"\ntype = "webhook"\nurl = "http://[::1]:9/x"\ntoken_file = "key"\n'
    loaded = configured(SLACK + other)
    assert secret_files(loaded.config) == ["slack-url", "key"]
    unit = install("credentials")
    (grant,) = (one for one in missing_grants(unit, loaded) if one.name == "credentials")
    assert grant.lines == (f"LoadCredential=key:{tmp_path / 'key'}",)


def test_with_the_printed_drop_ins_nothing_is_missing(install, configured, tmp_path):
    loaded = configured()
    for one in missing_grants(install("minimal"), loaded):
        where, _, text = one.drop_in.removeprefix("write ").partition("\n")
        path = where.partition(",")[0]
        assert path == f"/etc/systemd/system/presaged.service.d/with-{one.name}.conf"
        file = tmp_path / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert list(missing_grants(read_sandbox(tmp_path), loaded)) == []


def test_a_list_is_emptied_by_an_empty_setting(install):
    unit = install("[Service]\nIPAddressDeny=any\n", "[Service]\nIPAddressDeny=\n")
    assert list(unit.words("ipaddressdeny")) == []


def test_without_a_unit_nothing_is_missing(tmp_path, configured, monkeypatch):
    assert not read_sandbox(tmp_path)
    monkeypatch.setattr(doctor, "read_sandbox", lambda: read_sandbox(tmp_path))
    (result,) = doctor.check_grants(configured())
    assert (result.verdict, result.remedy) == ("ok", "")


def test_the_doctor_prints_a_drop_in_line_by_line(install, configured, monkeypatch):
    unit = install("minimal")
    monkeypatch.setattr(doctor, "read_sandbox", lambda: unit)
    found = list(doctor.check_grants(configured()))
    assert sorted(one.verdict for one in found) == ["ok", "ok", "warning", "warning", "warning"]
    journal = next(one for one in found if "the journal" in one.finding)
    shown = [text.plain for _, text in doctor._rows(journal)]
    assert shown[2:] == ["   [Service]", "   SupplementaryGroups=systemd-journal"]
