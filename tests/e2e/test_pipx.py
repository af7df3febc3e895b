"""pipx in a clean Debian 12, as README has it typed: the wheel installed, started, asked.

Takes the wheel that `make wheel` has left in dist/; skipped where there is none. What pip and apt need to reach their
servers from here (their configuration, the resolver's) is laid into the clean system; it shares this host's network.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from debian import clean_debian
from real import free_port, wait_for
from test_package import DIST

CHROOT = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c")
INSIDE = """
mount -t proc proc "$0/proc" && mount --rbind /sys "$0/sys" && user=$1 && shift
chroot --userspec="$user" "$0" "$@"
exit $?  # not by exec: who changes the user is no more killed with the one that made it
"""
GIVEN = ("resolv.conf", "hosts", "pip.conf", "xdg/pip", "ssl/certs/ca-certificates.crt", "apt/apt.conf.d")
CONFIG = '[storage]\ndirectory = "presaged"\n[http]\nlisten = "127.0.0.1:{port}"\n'

pytestmark = [pytest.mark.timeout(900), pytest.mark.soak]


class Clean:
    """A clean Debian with a user of its own, `ann`."""

    def __init__(self, folder):
        self.layers, self.root = folder / "layers", folder / "root"
        for path in (self.layers, self.root):
            path.mkdir()
        run("mount", "-t", "tmpfs", "-o", "size=3G", "tmpfs", self.layers)
        for name in ("up", "work"):
            (self.layers / name).mkdir()
        layers = f"lowerdir={clean_debian()},upperdir={self.layers}/up,workdir={self.layers}/work"
        run("mount", "-t", "overlay", "overlay", "-o", layers, self.root)
        self.lay_in()
        self.do("useradd --create-home --shell /bin/bash ann", user="root")

    def lay_in(self):
        """Give it what this host reaches servers with; again once packages have brought their own."""
        shown = [Path(one) for one in os.environ.get("PIP_FIND_LINKS", "").split() if one.startswith("/")]
        for path in (*map(Path("/etc").joinpath, GIVEN), *shown):
            inside = self.root / path.relative_to("/")
            if path.is_dir():
                shutil.copytree(path, inside, dirs_exist_ok=True)
            elif path.exists():
                inside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, inside)

    def command(self, words, user="ann"):
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        given = [f"{name}={value}" for name, value in kept.items()]
        home = "/root" if user == "root" else f"/home/{user}"
        enter = (INSIDE, self.root, f"{user}:", "env", "-i", *given, f"HOME={home}", f"USER={user}")
        path = f"PATH={home}/.local/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return [*CHROOT, *enter, path, "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", f"cd; {words}"]

    def do(self, words, user="ann", check=True):
        done = subprocess.run(self.command(words, user), capture_output=True, text=True, timeout=600, check=False)
        assert not check or done.returncode == 0, f"{words}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done

    def close(self):
        for mount in (self.root, self.layers):
            subprocess.run(["umount", "--lazy", mount], check=False)


def run(*command):
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def clean(tmp_path):
    found = sorted(DIST.glob("presaged-*_x86_64.whl"), key=lambda file: file.stat().st_mtime)
    if not found:
        pytest.skip("there is no wheel in dist/: make wheel")
    clean_debian()
    one = Clean(tmp_path)
    try:
        shutil.copy(found[-1], one.root / "home/ann")
        one.wheel = found[-1].name
        yield one
    finally:
        one.close()


def test_from_nothing_to_a_status(clean, capsys):
    got = clean.do("apt-get update -q && apt-get install -y -q --no-install-recommends pipx", user="root", check=False)
    if got.returncode:
        pytest.skip(f"apt has no pipx here: {got.stderr.strip().splitlines()[-1:]}")
    clean.lay_in()
    began = time.monotonic()
    clean.do(f"pipx install ./{clean.wheel}")
    seconds = time.monotonic() - began

    refused = clean.do("presaged", check=False)  # an ordinary user has no /var/lib/presaged: it is told so
    assert refused.returncode == 2
    assert "storage.directory: /var/lib/presaged: no permission" in refused.stderr
    assert "Traceback" not in refused.stderr

    (clean.root / "home/ann/presaged.toml").write_text(CONFIG.format(port=free_port()))
    with (clean.root / "home/ann/log").open("wb") as log:
        daemon = subprocess.Popen(clean.command("exec presaged --config presaged.toml"), stderr=log)
    try:

        def told():
            """Return what is said once there is a sample."""
            done = clean.do("presage status --config presaged.toml", check=False)
            return "; last " in done.stdout and done.stdout

        said = wait_for(told, 60, "a status with a sample")
        doctor = clean.do("presage doctor --config presaged.toml --json", check=False)
    finally:
        daemon.kill()  # and all that it began; unshare passes nothing gentler on
        daemon.wait(timeout=10)
    with capsys.disabled():
        print(f"\npipx install: {seconds:.0f} s\n{said}")
    found = {one["check"]: one for one in json.loads(doctor.stdout)}
    assert [name for name, one in found.items() if one["verdict"] == "problem"] == []
    assert found["compute"]["finding"].startswith("compiled-"), "the kernels that came with the wheel do not serve"
