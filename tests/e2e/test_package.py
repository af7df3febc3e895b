"""The Debian package on a clean Debian 12: install, upgrade, downgrade by one, remove, purge; each profile of the unit.

Takes the package that `make deb` has left in dist/; skipped where there is none.
"""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from debian import boot
from real import wait_for

DIST = Path(os.environ.get("PRESAGED_DIST", Path(__file__).parents[2] / "dist"))
UNIT = "presaged.service"
DROP_INS = "/usr/share/doc/presaged/drop-ins"
FAST = "[sampling]\ninterval_seconds = 1\n"
PATHS = ("/opt/presaged", "/usr/bin/presage", "/usr/bin/presaged", "/lib/systemd/system/presaged.service")

pytestmark = [pytest.mark.timeout(900), pytest.mark.soak]


@pytest.fixture(scope="module")
def package():
    found = sorted(DIST.glob("presaged_*_amd64.deb"), key=lambda file: file.stat().st_mtime)
    if not found:
        pytest.skip("there is no package in dist/: make deb")
    return found[-1]


@pytest.fixture(scope="module")
def newer(package, tmp_path_factory):
    """Return the same package as the next version: the program says so too."""
    folder = tmp_path_factory.mktemp("newer")
    root = folder / "root"
    run("dpkg-deb", "--raw-extract", package, root)
    control = root / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", "Version: 99.1", control.read_text()))
    site = next(root.glob("opt/presaged/lib/*/site-packages"))
    version = site / "daemon/__init__.py"
    version.write_text(re.sub(r'__version__ = ".*"', '__version__ = "99.1"', version.read_text()))
    for stale in (site / "daemon/__pycache__").glob("__init__.*"):
        stale.unlink()  # or it would be believed unseen
    unit = root / "lib/systemd/system/presaged.service"
    unit.write_text(unit.read_text() + "# newer\n")
    run("dpkg-deb", "--root-owner-group", "-Zzstd", "-z1", "--build", root, folder / "presaged_99.1.deb")
    shutil.rmtree(root)
    return folder / "presaged_99.1.deb"


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    one = boot(tmp_path_factory.mktemp("debian"))
    try:
        yield one
    finally:
        one.stop()


def install(host, package):
    """Install with dpkg, as an administrator without a repository does; return the seconds it took."""
    inside = host.root / "srv" / package.name
    shutil.copyfile(package, inside)
    began = time.monotonic()
    done = host.do("dpkg", "--install", f"/srv/{package.name}", timeout=300)
    inside.unlink()
    assert "warning" not in (done.stdout + done.stderr).lower().replace("dpkg: warning: downgrading", "")
    return time.monotonic() - began


def status(host):
    done = host.do("presage", "status", "--json", check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def sampled(host, beyond=0):
    return wait_for(lambda: (s := status(host)).get("seq", 0) > beyond and s, 30, f"a sample beyond {beyond}")


def seconds_to_first_sample(host):
    """Return the seconds from systemd's exec to the first sample, after which READY=1 is said."""
    started = int(host.show(UNIT, "ExecMainStartTimestampMonotonic"))
    return (int(host.show(UNIT, "ActiveEnterTimestampMonotonic")) - started) / 1e6


def test_a_life_on_a_clean_debian(clean, package, newer, capsys):
    seconds = install(clean, package)
    assert clean.show(UNIT, "ActiveState") == "active"
    assert clean.show(UNIT, "UnitFileState") == "enabled"
    first = status(clean)
    assert first["config_files"] == ["/etc/presaged/config.toml"]
    version = first["version"]
    starts = []
    for _ in range(5):
        clean.do("systemctl", "reset-failed", UNIT, check=False)
        clean.do("systemctl", "restart", UNIT)
        starts.append(seconds_to_first_sample(clean))
    figures = {"install s": round(seconds, 1), "start to first sample s": sorted(starts)[2], "of": sorted(starts)}
    doctor = {one["check"]: one for one in json.loads(clean.do("presage", "doctor", "--json", check=False).stdout)}
    assert not [one for one in doctor.values() if one["verdict"] == "problem"]
    assert doctor["compute"]["finding"].startswith("compiled-")
    assert doctor["unit"]["verdict"] == "ok"
    assert clean.do("dpkg", "--verify", "presaged").stdout == ""

    clean.write("/etc/presaged/config.toml", FAST)
    clean.do("systemctl", "restart", UNIT)
    seq = sampled(clean, 5)["seq"]
    token = clean.do("sha256sum", "/var/lib/presaged/token").stdout
    figures["upgrade s"] = round(install(clean, newer), 1)
    after = sampled(clean, seq)
    assert after["version"] == "99.1"
    assert "# newer" in clean.do("systemctl", "cat", UNIT).stdout
    assert clean.do("cat", "/etc/presaged/config.toml").stdout == FAST  # what was changed is not asked for and stays
    assert clean.do("sha256sum", "/var/lib/presaged/token").stdout == token

    clean.do("systemctl", "disable", "--now", UNIT)
    figures["downgrade s"] = round(install(clean, package), 1)
    assert clean.show(UNIT, "UnitFileState") == "disabled"  # an administrator's word
    clean.do("systemctl", "enable", "--now", UNIT)
    back = sampled(clean, after["seq"])
    assert back["version"] == version

    clean.do("dpkg", "--remove", "presaged", timeout=120)
    assert clean.do("test", "-e", "/var/lib/presaged/state.db", check=False).returncode == 0
    assert clean.do("cat", "/etc/presaged/config.toml").stdout == FAST
    assert [path for path in PATHS if clean.do("test", "-e", path, check=False).returncode == 0] == []
    assert clean.show(UNIT, "ActiveState") == "inactive"

    install(clean, package)
    again = sampled(clean, back["seq"])
    assert clean.show(UNIT, "UnitFileState") == "enabled"
    assert again["seq"] > back["seq"]

    clean.do("dpkg", "--purge", "presaged", timeout=120)
    find = ("find", "/", "-xdev", "-name", "*presage*", "-not", "-path", "/proc/*", "-not", "-path", "/sys/*")
    left = [line for line in clean.do(*find, check=False).stdout.split() if not line.startswith("/tmp/")]
    assert left == []
    assert clean.do("getent", "passwd", "presaged", check=False).returncode != 0
    assert clean.do("systemctl", "list-unit-files", UNIT, "--no-legend", check=False).stdout == ""
    with capsys.disabled():
        print(f"\n{json.dumps(figures)}")


@pytest.fixture
def installed(clean, package):
    """The host with the package, which is gone again after the test: the other begins without."""
    install(clean, package)
    clean.write("/etc/presaged/config.toml", FAST)
    yield clean
    clean.do("dpkg", "--purge", "presaged", timeout=120)


def told(host, what):
    """Ask the API inside for JSON."""
    program = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:9736/api/v1/{what}').read().decode())"
    return json.loads(host.do("python3", "-c", program).stdout)


def profile(host, name):
    """Run the unit in a profile until it has sampled for some seconds; return what it sees."""
    folder = f"/etc/systemd/system/{UNIT}.d"
    host.do("rm", "-rf", folder)
    if name != "standard":
        host.do("mkdir", "-p", folder)
        host.do("cp", f"{DROP_INS}/{name}.conf", folder)
    host.do("systemctl", "daemon-reload")
    host.do("systemctl", "reset-failed", UNIT, check=False)
    before = status(host).get("seq", 0)
    host.do("systemctl", "restart", UNIT)
    seen = sampled(host, before + 3)
    security = host.do("systemd-analyze", "security", "--no-pager", UNIT, check=False).stdout
    present = {one["name"] for one in told(host, "signals?limit=1000")["signals"] if one.get("value") is not None}
    return {
        "exposure": float(re.search(r"exposure level for .*?: ([0-9.]+)", security)[1]),
        "signals": present,
        "unseen": {one["name"] for one in told(host, "failures")["sources"] if one["problem"]} - {"smartd"},
        "status": seen,
    }


def test_each_profile_runs_and_sees_what_is_promised(installed, capsys):
    found = {name: profile(installed, name) for name in ("standard", "localhost", "full", "minimal")}
    with capsys.disabled():
        for name, one in found.items():
            lacks = sorted(found["full"]["signals"] - one["signals"])
            print(f"\n{name}: exposure {one['exposure']}, {len(one['signals'])} signals, no {sorted(one['unseen'])},")
            print(f"   without {lacks}")
    assert [found[name]["exposure"] for name in ("standard", "localhost", "minimal")] == [1.3, 1.2, 0.9]
    assert found["standard"]["unseen"] == set()
    assert found["minimal"]["unseen"] == {"journal"}
    assert not found["standard"]["signals"] ^ found["localhost"]["signals"]


def test_memory_once_it_has_learned(installed, capsys):
    """What is resident is its own (RssAnon), and pages of programs and libraries: RssFile, here on a tmpfs RssShmem."""
    installed.do("rm", "-rf", f"/etc/systemd/system/{UNIT}.d")
    installed.write("/etc/presaged/config.toml", f"{FAST}[anomaly]\nnetwork_after_samples = 150\n")
    installed.do("systemctl", "daemon-reload")
    installed.do("systemctl", "restart", UNIT)
    wait_for(lambda: status(installed).get("anomaly", {}).get("model"), 400, "a network of its own")
    learned = status(installed)["seq"]
    wait_for(lambda: status(installed)["seq"] > learned + 60, 120, "a minute more")
    process = installed.do("cat", f"/proc/{installed.show(UNIT, 'MainPID')}/status").stdout
    memory = {
        name: int(kilobytes) / 1024
        for name, kilobytes in re.findall(r"(VmRSS|RssAnon|RssFile|RssShmem):\s+(\d+)", process)
    }
    with capsys.disabled():
        print(f"\n{json.dumps({name: round(value, 1) for name, value in memory.items()})}")
    assert memory["VmRSS"] <= 80
