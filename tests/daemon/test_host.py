from pathlib import Path

import pytest

from daemon.collectors.base import HostPaths
from daemon.host import container_engine, container_memory, describe_host

GIGABYTE = 2**30


class Machine:
    def __init__(self, top):
        self.top = top
        self.paths = HostPaths(proc=top / "proc", sys=top / "sys", root=top / "root")
        self.write("proc/stat", "cpu  1\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1\nintr 1\n")
        self.write("proc/meminfo", f"MemTotal: {8 * GIGABYTE // 1024} kB\nMemFree: 1 kB\n")
        self.write("proc/cpuinfo", "processor : 0\nflags\t\t: fpu vme sse2\n")
        self.write("proc/sys/kernel/hostname", "alpha\n")
        self.write("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
        self.write("proc/1/cgroup", "0::/init.scope\n")
        self.write("proc/1/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")
        self.write("root/etc/machine-id", "0123456789abcdef0123456789abcdef\n")

    def write(self, place, content):
        path = self.top / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def describe(self):
        return describe_host(self.paths)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def in_container(machine):
    machine.write("root/run/systemd/container", "docker\n")
    machine.write("proc/1/cgroup", "0::/\n")


def test_a_node_is_what_it_is(machine):
    described = machine.describe()
    assert (described.kind, described.virtualization) == ("node", "none")
    assert (described.cpus, described.memory_bytes) == (4.0, 8 * GIGABYTE)
    assert (described.hostname, described.kernel) == ("alpha", "6.1.0-18-amd64")
    assert described.machine_id == "0123456789abcdef0123456789abcdef"


def test_a_limit_of_our_own_unit_is_not_the_capacity_of_the_host(machine):
    machine.write("sys/fs/cgroup/memory.max", "100000000\n")
    machine.write("sys/fs/cgroup/init.scope/memory.max", "100000000\n")
    machine.write("sys/fs/cgroup/cpu.max", "50000 100000\n")
    described = machine.describe()
    assert (described.cpus, described.memory_bytes) == (4.0, 8 * GIGABYTE)
    assert container_memory(machine.paths) is None


def test_a_container_has_the_limits_of_its_cgroup(machine):
    in_container(machine)
    machine.write("sys/fs/cgroup/memory.max", f"{2 * GIGABYTE}\n")
    machine.write("sys/fs/cgroup/memory.current", "1000000\n")
    machine.write("sys/fs/cgroup/memory.stat", "anon 600000\ninactive_file 300000\nactive_file 1\n")
    machine.write("sys/fs/cgroup/cpu.max", "150000 100000\n")
    described = machine.describe()
    assert (described.kind, described.virtualization) == ("container", "docker")
    assert (described.cpus, described.memory_bytes) == (1.5, 2 * GIGABYTE)
    assert container_memory(machine.paths).read() == (700000, 2 * GIGABYTE)
    machine.write("sys/fs/cgroup/memory.max", "max\n")
    assert container_memory(machine.paths).read() is None


def test_a_container_without_limits_has_the_host(machine):
    in_container(machine)
    machine.write("sys/fs/cgroup/memory.max", "max\n")
    machine.write("sys/fs/cgroup/cpu.max", "max 100000\n")
    described = machine.describe()
    assert (described.kind, described.cpus, described.memory_bytes) == ("container", 4.0, 8 * GIGABYTE)


def test_a_container_with_cgroup_version_1(machine):
    in_container(machine)
    machine.write(
        "proc/1/cgroup", "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n"
    )
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", f"{GIGABYTE}\n")
    machine.write("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n")
    machine.write("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 2000\n")
    machine.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n")
    machine.write("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    described = machine.describe()
    assert (described.cpus, described.memory_bytes) == (2.0, GIGABYTE)
    assert container_memory(machine.paths).read() == (3000, GIGABYTE)


def test_version_1_says_unlimited_by_a_huge_number_and_minus_one(machine):
    in_container(machine)
    machine.write("proc/1/cgroup", "5:memory:/\n4:cpu:/\n")
    machine.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    machine.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    described = machine.describe()
    assert (described.cpus, described.memory_bytes) == (4.0, 8 * GIGABYTE)


def test_the_tightest_limit_on_the_way_up_counts(machine):
    machine.write("proc/1/cgroup", "0::/kubepods/pod1/ctr\n")
    machine.write("sys/fs/cgroup/kubepods/pod1/ctr/memory.max", "max\n")
    machine.write("sys/fs/cgroup/kubepods/pod1/memory.max", "5000\n")
    machine.write("sys/fs/cgroup/kubepods/pod1/memory.current", "4000\n")
    machine.write("sys/fs/cgroup/kubepods/memory.max", "9000\n")
    assert machine.describe().virtualization == "kubernetes"
    assert container_memory(machine.paths).read() == (4000, 5000)


@pytest.mark.parametrize(
    ("place", "content", "engine"),
    [
        ("root/run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
        ("proc/1/environ", "PATH=/bin\0container=lxc\0", "lxc"),
        ("proc/1/cgroup", "0::/system.slice/docker-0123.scope\n", "docker"),
        ("proc/1/cgroup", "4:cpu:/kubepods/besteffort/pod1\n", "kubernetes"),
        ("proc/1/cgroup", "4:cpu:/lxc/box\n", "lxc"),
    ],
)
def test_containers_are_recognised(machine, place, content, engine):
    assert container_engine(machine.paths) == ""
    machine.write(place, content)
    assert container_engine(machine.paths) == engine
    assert machine.describe().kind == "container"


@pytest.mark.parametrize(("place", "engine"), [("root/.dockerenv", "docker"), ("root/run/.containerenv", "podman")])
def test_a_file_of_an_engine_counts_on_an_overlay_but_not_on_a_disk(machine, place, engine):
    machine.write(place, "")
    assert container_engine(machine.paths) == ""  # an image that a micro-VM boots from
    machine.write("proc/1/mountinfo", "22 1 0:55 / / rw - overlay overlay rw\n")
    assert container_engine(machine.paths) == engine


def test_a_vm_is_recognised_by_its_processor_and_named_by_its_firmware(machine):
    machine.write("proc/cpuinfo", "flags\t\t: fpu hypervisor sse2\n")
    assert (machine.describe().kind, machine.describe().virtualization) == ("vm", "vm")
    machine.write("sys/class/dmi/id/sys_vendor", "QEMU\n")
    assert machine.describe().virtualization == "qemu"


@pytest.mark.parametrize("vendor", ["Amazon EC2", "Google"])
def test_bare_metal_of_a_cloud_is_a_node(machine, vendor):
    machine.write("sys/class/dmi/id/sys_vendor", vendor)
    machine.write("sys/class/dmi/id/product_name", "c5.metal")
    assert machine.describe().kind == "node"


def test_an_arm_machine_is_known_by_its_firmware_alone(machine):
    machine.write("proc/cpuinfo", "processor : 0\nFeatures : fp asimd\n")
    assert machine.describe().kind == "node"
    machine.write("sys/class/dmi/id/sys_vendor", "Amazon EC2")
    machine.write("sys/class/dmi/id/product_name", "m6g.large")
    assert machine.describe().virtualization == "amazon"
    machine.write("sys/class/dmi/id/product_name", "m6g.metal")
    assert machine.describe().kind == "node"


def test_xen_guests_are_vms_and_its_first_domain_is_not(machine):
    machine.write("sys/hypervisor/type", "xen\n")
    assert machine.describe().virtualization == "xen"
    machine.write("proc/xen/capabilities", "control_d\n")
    assert machine.describe().kind == "node"


@pytest.mark.parametrize("said", ["uninitialized\n", "", "xyz"])
def test_a_machine_id_that_is_none(machine, said):
    machine.write("root/etc/machine-id", said)
    assert machine.describe().machine_id is None
    machine.write("root/var/lib/dbus/machine-id", "f" * 32)
    assert machine.describe().machine_id == "f" * 32


def test_the_real_host_is_described():
    described = describe_host(HostPaths())
    assert described.kind in {"container", "vm", "node"}
    assert 0 < described.cpus <= 4096
    assert described.memory_bytes > 2**26
    assert described.kernel == Path("/proc/sys/kernel/osrelease").read_text().strip()
