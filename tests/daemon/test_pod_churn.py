"""A node on which 200 pods an hour come and go: no signal more, no series more, no alarm more than without them.

What a pod brings is what containerd, the kubelet and the network plugins of a node make for it: mounts, an interface,
control groups, processes. The rest of the host is at rest. PRESAGED_TEST_SCALE is the number of hours.
"""

import math
import os
import re
import shutil

import psutil

from daemon.collectors import CollectorContext, build_collectors
from daemon.collectors.base import HostPaths
from daemon.collectors.filesystem import FilesystemCollector, Space

TICKS_AN_HOUR = 120
PODS_AN_HOUR = 200
LIVES_TICKS = 24  # twelve minutes
STEADY = 20  # pods that stay
HOURS = int(os.environ.get("PRESAGED_TEST_SCALE", "1"))
INTERFACES = ("cali{:011x}", "veth{:08x}", "lxc{:012x}", "eni{:011x}", "azv{:011x}", "gke{:011x}", "{:015x}")
KUBELETS = ("/var/lib/kubelet", "/var/snap/microk8s/common/var/lib/kubelet", "/var/lib/k0s/kubelet")
LIMIT = 128 << 20


class Node:
    """Its /proc and /sys as files below `top`."""

    def __init__(self, top):
        self.paths = HostPaths(proc=top / "proc", sys=top / "sys", root=top / "root")
        self.slices = self.paths.sys / "fs/cgroup/kubepods.slice"
        self.space = os.statvfs("/")  # once: this machine's own goes up and down
        self.alive, self.ticks, self.number = {}, 0, 0
        self._write(self.paths.sys / "fs/cgroup", **{"cgroup.controllers": "cpu io memory\n"})
        self._group(self.slices, 0)
        for number in range(STEADY):
            self.start(number)
        self._group(self.paths.sys / "fs/cgroup/system.slice/kubelet.service", 0)
        self.tell()

    def _write(self, folder, **texts):
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)

    def _group(self, folder, number):
        self._write(
            folder,
            **{
                "cpu.stat": f"usage_usec {self.ticks * 100_000 + number}\nuser_usec 1\n",
                "memory.current": f"{int(LIMIT * (0.5 + number % 5 / 10))}\n",
                "memory.max": f"{LIMIT}\n",
                "memory.stat": "anon 1\ninactive_file 0\nactive_file 0\nslab_reclaimable 0\n",
                "memory.events": "oom 0\noom_kill 0\n",
                "io.stat": f"8:0 rbytes={self.ticks * 4096} wbytes={self.ticks * 4096} rios=1 wios=1\n",
            },
        )

    def start(self, number):
        pod = self.slices / f"kubepods-burstable.slice/kubepods-burstable-pod{number:08x}.slice"
        scopes = [f"cri-containerd-{number * 2 + which:064x}.scope" for which in (0, 1)]  # the pause container, its own
        self._group(pod, number)
        for which, scope in enumerate(scopes):
            self._group(pod / scope, number)
            process = self.paths.proc / str(10_000 + 2 * number + which)
            group = f"/{pod.relative_to(self.slices.parent)}/{scope}"
            limits = "Limit                     Soft Limit           Hard Limit           Units\n"
            self._write(
                process,
                cgroup=f"0::{group}\n",
                comm="app\n",
                limits=f"{limits}Max open files            1048576              1048576              files\n",
            )
            (process / "fd").mkdir()
        interface = self.paths.sys / "class/net" / INTERFACES[number % len(INTERFACES)].format(0xABC000 + number)
        interface.mkdir(parents=True)
        self.alive[number] = pod, scopes, interface
        self.number = number + 1

    def end(self, number):
        pod, _, interface = self.alive.pop(number)
        shutil.rmtree(pod)
        interface.rmdir()
        for which in (0, 1):
            shutil.rmtree(self.paths.proc / str(10_000 + 2 * number + which))

    def tell(self):
        """Write the tables of mounts and interfaces, and let what lasts go on."""
        mounts = ["1 0 8:1 / / rw - ext4 /dev/sda1 rw", "2 1 8:2 / /var/lib rw - ext4 /dev/sda2 rw"]
        traffic = f"{self.ticks * 1000} {self.ticks * 10} 0 0 0 0 0 0 " * 2
        cards = ["eth0", *(interface.name for _, _, interface in self.alive.values())]
        for number, (_, scopes, _) in self.alive.items():
            kubelet, minor = KUBELETS[number % len(KUBELETS)], number % 200 + 10
            container = f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{scopes[1][15:79]}/rootfs"
            mounts += [
                f"3 1 0:{number} / {container} rw - overlay overlay rw",
                f"3 1 0:{number} / /run/containerd/io.containerd.grpc.v1.cri/sandboxes/{number}/shm rw - tmpfs shm rw",
                f"3 1 0:{number} / {kubelet}/pods/{number}/volumes/kubernetes.io~projected/token rw - tmpfs tmpfs rw",
                f"3 1 9:{minor} / {kubelet}/plugins/kubernetes.io/csi/{number}/globalmount rw - ext4 /dev/rbd{minor} -",
                f"3 1 9:{minor} / {kubelet}/pods/{number}/volumes/csi/mount rw - ext4 /dev/rbd{minor} -",
                f"3 1 0:4 net:[{number}] /run/netns/cni-{number} rw - nsfs nsfs rw",
            ]
        self._write(self.paths.proc / "1", mountinfo="\n".join(mounts) + "\n")
        self._write(self.paths.proc / "1/net", dev="\n\n" + "".join(f"{name}: {traffic}\n" for name in cards))
        self._write(self.paths.proc, meminfo="MemTotal: 16000000 kB\n")
        self._group(self.slices, 0)

    def go_on(self, churns):
        """Let an interval pass."""
        self.ticks += 1
        if churns:
            for _ in range(_due(self.ticks) - _due(self.ticks - 1)):
                self.start(self.number)
            come = sorted(number for number in self.alive if number >= STEADY)
            for number in come[: -_due(LIVES_TICKS)]:
                self.end(number)
        self.tell()

    def ask(self, path):
        """Return what a mount answers: its device as the table tells, and some space."""
        number = re.search(r"/(?:csi|pods)/(\d+)/", os.fsdecode(path))
        device = (9, int(number[1]) % 200 + 10) if number else (8, 2 if path.endswith(b"lib") else 1)
        return Space(device, self.space)

    def collectors(self):
        """Return the sources that see what comes and goes."""
        seen = {"network", "unit", "limits", "changes"}
        built = [one for one in build_collectors(CollectorContext(paths=self.paths)) if one.name in seen]
        return [*built, FilesystemCollector(paths=self.paths, ask=self.ask)]


def _due(ticks):
    return ticks * PODS_AN_HOUR // TICKS_AN_HOUR


async def hour(host, node, churns):
    for _ in range(TICKS_AN_HOUR):
        node.go_on(churns)
        snapshot = await host.take()
        host.published.clear()
    lines = host.metrics.render().decode().splitlines()
    return {
        "pods so far": node.number - STEADY,
        "signals known": len(host.registry.specs),
        "signals measured": sum(not math.isnan(value) for _, value in snapshot.values),
        "series": len({line.rpartition(" ")[0] for line in lines if not line.startswith("#")}),
        "RSS MB": round(psutil.Process().memory_info().rss / 1e6, 1),
        "alerts": len(host.state.recent_occurrences(500)),
    }


async def test_200_pods_an_hour_are_no_signal_no_series_and_no_alarm(hosts, quiet_collector, tmp_path):
    node = Node(tmp_path / "node")
    host = await hosts(*node.collectors(), quiet_collector(), proc=node.paths.proc)
    calm = await hour(host, node, churns=False)
    print(f"\ncalm: {calm}")
    for _ in range(HOURS):
        busy = await hour(host, node, churns=True)
        print(f"busy: {busy}")
    assert busy["pods so far"] >= 0.9 * HOURS * PODS_AN_HOUR
    assert busy["signals known"] == calm["signals known"]
    assert busy["signals measured"] == calm["signals measured"]
    assert busy["series"] == calm["series"]
    assert busy["alerts"] <= calm["alerts"] + HOURS // 24  # records, as many as the ceiling allows any host
    assert busy["RSS MB"] <= calm["RSS MB"] + 5
