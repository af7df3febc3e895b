"""A host of 500 mounts and 1,000 interfaces, and a daemon on it; what /metrics says before and after some have gone.

Runs as the first process of namespaces of its own (see test_series.py), so all that it makes goes with it. Argument: an
empty folder. Leaves one JSON object on standard output.
"""

import ctypes
import fcntl
import json
import os
import resource
import struct
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

MOUNTS, INTERFACES = 500, 1000
GONE = range(5, 45)  # the kernel takes its time for each interface
PORT = 19736
LIBC = ctypes.CDLL(None, use_errno=True)
TUNSETIFF, TUNSETPERSIST, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x400454CB, 0x0002, 0x1000


def main(folder):
    resource.setrlimit(resource.RLIMIT_NOFILE, (2 * INTERFACES, 2 * INTERFACES))
    lans = [interface(name) for name in lan_names()]
    run("ip", "-batch", "-", input="\n".join(f"link set {name} up" for name in ("lo", *lan_names())), text=True)
    send(lans)
    for number in range(MOUNTS):
        place = folder / f"disk{number}"
        place.mkdir()
        done = LIBC.mount(f"disk{number}".encode(), bytes(place), b"tmpfs", 0, b"size=64k")
        assert done == 0, os.strerror(ctypes.get_errno())
    told_of = folder / "mountinfo"
    tell_of_mounts(told_of)
    run("mount", "--bind", str(told_of), "/proc/1/mountinfo")
    config = folder / "config.toml"
    config.write_text(
        f'[sampling]\ninterval_seconds = 1\n[http]\nlisten = "127.0.0.1:{PORT}"\n[storage]\ndirectory = "state"\n'
    )
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen([sys.executable, "-P", "-m", "daemon", "--config", str(config)], stderr=log)
    before = after_samples(4)
    megabytes = resident_megabytes(daemon.pid)
    run("ip", "-batch", "-", input="\n".join(f"link delete lan{number}" for number in GONE), text=True)
    for number in GONE:
        assert LIBC.umount(bytes(folder / f"disk{number}")) == 0
    tell_of_mounts(told_of)
    after = after_samples(samples() + 3)
    told = {"before": before, "after": after, "megabytes": [megabytes, resident_megabytes(daemon.pid)]}
    daemon.terminate()
    told["code"] = daemon.wait(timeout=20)
    json.dump(told, sys.stdout)


def tell_of_mounts(file):
    """Write the mounts as they would be listed on a host of many disks: file systems in memory are not watched.

    A thread is asked: what /proc shows of this process is the written one.
    """
    lines = Path("/proc/thread-self/mountinfo").read_text().splitlines()
    file.write_text("".join(line.replace("- tmpfs disk", "- ext4 /dev/disk") + "\n" for line in lines))


def run(*command, **more):
    subprocess.run(command, check=True, **more)


def lan_names():
    return [f"lan{number}" for number in range(INTERFACES)]


def interface(name):
    """Make an interface, and return what sends to it. It stays when that is closed, and goes with the namespace."""
    lan = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(lan, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    fcntl.ioctl(lan, TUNSETPERSIST, 1)
    return lan


def send(lans):
    """Let each receive a packet: one that never had any is not watched."""
    for lan in lans:
        os.write(lan, b"\xff" * 12 + b"\x88\xb5" + bytes(46))
        os.close(lan)


def get(path):
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=10) as answer:
        return answer.read().decode()


def samples():
    try:
        return json.loads(get("/api/v1/status"))["samples"]
    except OSError:
        return 0


def after_samples(count):
    """Return /metrics as it is after so many samples."""
    deadline = time.monotonic() + 60
    while samples() < count:
        assert time.monotonic() < deadline, "the daemon takes no samples"
        time.sleep(0.2)
    return get("/metrics")


def resident_megabytes(pid):
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1000


if __name__ == "__main__":
    main(Path(sys.argv[1]))
