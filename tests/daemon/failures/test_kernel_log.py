import pytest
from failing import NOW_MS, entry
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.redact import redactor
from daemon.collectors.base import HostPaths
from daemon.failures.kernel_log import KernelLog
from daemon.failures.record import Source
from detectors.findings import FailureKind

VICTIM = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/system.slice/web.service,"
    "task_memcg=/system.slice/web.service/worker,task=python3,pid={},uid=33"
)
KILLED = (
    "Memory cgroup out of memory: Killed process {} (python3) total-vm:210000kB, anon-rss:104960kB, file-rss:4kB,"
    " shmem-rss:0kB, UID:33 pgtables:260kB oom_score_adj:0"
)
K = FailureKind


@pytest.fixture
def host(tmp_path):
    """A host with a disk sda, its partition sda1 on /srv, and a device-mapper volume on /."""
    paths = HostPaths(proc=tmp_path / "proc", sys=tmp_path / "sys", root=tmp_path)
    disk = paths.sys / "devices/pci0/block/sda"
    (disk / "sda1").mkdir(parents=True)
    (disk / "sda1/partition").write_text("1\n")
    (disk / "sda1/dev").write_text("8:1\n")
    (disk / "dev").write_text("8:0\n")
    blocks = paths.sys / "class/block"
    blocks.mkdir(parents=True)
    (blocks / "sda").symlink_to(disk)
    (blocks / "sda1").symlink_to(disk / "sda1")
    (paths.proc / "1").mkdir(parents=True)
    (paths.proc / "1/mountinfo").write_text(
        "20 1 253:0 / / rw - ext4 /dev/mapper/root rw\n21 20 8:1 / /srv\\040data rw - ext4 /dev/sda1 rw\n"
    )
    return paths


@pytest.fixture
def log(host):
    return KernelLog(paths=host, redact=redactor("redacted"))


def test_a_crash_between_both_lines_of_a_kill_loses_no_name(host, log):
    log.report(entry(VICTIM.format(7)))
    again = KernelLog(paths=host, redact=redactor("redacted"))
    again.restore(log.state)
    assert again.report(entry("Killed process 7 (x) total-vm:1kB, anon-rss:2048kB")).resource == "web.service"
    assert again.state == "{}"
    for state in ("", "[]", "no", "null"):
        again.restore(state)
    assert again.state == "{}"


@pytest.mark.parametrize(
    ("text", "kind", "resource"),
    [
        ("blk_update_request: I/O error, dev sda, sector 2048 op 0x0:(READ) flags 0x80700", K.IO_ERROR, "sda"),
        ("I/O error, dev nvme0n1, sector 7 op 0x1:(WRITE) flags 0x8800", K.IO_ERROR, "nvme0n1"),
        ("critical medium error, dev sda, sector 1234 op 0x0:(READ)", K.IO_ERROR, "sda"),
        ("Buffer I/O error on dev sda1, logical block 1, lost async page write", K.IO_ERROR, "sda"),
        ("Buffer I/O error on device dm-3, logical block 0", K.IO_ERROR, "dm-3"),
        ("EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: reading directory", K.IO_ERROR, "sda"),
        ('XFS (dm-0): metadata I/O error in "xfs_trans_read_buf_map" at daddr 0x2 len 8', K.IO_ERROR, "dm-0"),
        ("BTRFS error (device sdb: state EA): bdev /dev/sdb errs: wr 1, rd 0", K.IO_ERROR, "sdb"),
        ("nvme nvme0: I/O 24 QID 3 timeout, aborting", K.IO_ERROR, "nvme0"),
        ("EXT4-fs (sda1): Remounting filesystem read-only", K.FILESYSTEM_READ_ONLY, "/srv data"),
        ("XFS (dm-9): Log I/O Error Detected. Shutting down filesystem", K.FILESYSTEM_READ_ONLY, "dm-9"),
        ("BTRFS info (device sda1: state E): forced readonly", K.FILESYSTEM_READ_ONLY, "/srv data"),
        ("FAT-fs (sdc1): Filesystem has been set read-only", K.FILESYSTEM_READ_ONLY, "sdc1"),
        ("mce: [Hardware Error]: Machine check events logged", K.MACHINE_CHECK, ""),
        ("mce: [Hardware Error]: CPU 2: Machine Check: 0 Bank 5: b200000000070f0f", K.MACHINE_CHECK, ""),
        ("EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0 (channel:1)", K.MACHINE_CHECK, ""),
        ("{1}[Hardware Error]: event severity: fatal", K.MACHINE_CHECK, ""),
        ("INFO: task kworker/u8:2:91 blocked for more than 120 seconds.", K.HUNG_TASK, "kworker/u8:2"),
        ("watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [cc1:4711]", K.HUNG_TASK, ""),
        ("rcu: INFO: rcu_preempt self-detected stall on CPU", K.HUNG_TASK, ""),
    ],
)
def test_what_the_kernel_says(log, text, kind, resource):
    said = log.report(entry(text, 3, cursor="c"))
    assert (said.kind, said.resource, said.source, said.mark) == (kind, resource, Source.KERNEL_LOG, "c")
    assert said.since_ms == said.time_ms == NOW_MS + 3000
    assert said.detail


@pytest.mark.parametrize(
    "text",
    [
        "usb 1-1: new high-speed USB device number 2",
        "EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: (null)",
        "EXT4-fs (sda1): re-mounted. Opts: errors=remount-ro",
        "I/O error, dev fd0, sector 0 op 0x0:(READ)",  # an empty floppy drive
        "Buffer I/O error on dev sr0, logical block 0",
        "EDAC MC0: 1 CE memory read error on CPU_SrcID#0",  # corrected: a sign, and no failure
        "{1}[Hardware Error]: event severity: corrected",
        "[drm] GPU HANG: ecode 9",
        "",
    ],
)
def test_what_is_no_failure(log, text):
    assert log.report(entry(text)) is None


def test_a_kill_names_process_unit_and_size(log):
    assert log.report(entry(VICTIM.format(77), priority=6)) is None
    said = log.report(entry(KILLED.format(77)))
    assert (said.kind, said.resource) == (K.OOM_KILL, "web.service")
    assert said.detail == "the kernel killed python3 (77) for want of memory, which had 102 MiB"


def test_kills_that_are_told_across_each_other_keep_their_units(log):
    log.report(entry(VICTIM.format(1)))
    log.report(entry(VICTIM.format(2).replace("web.service", "db.service")))
    assert log.report(entry(KILLED.format(2))).resource == "db.service"
    assert log.report(entry(KILLED.format(1))).resource == "web.service"
    assert log.report(entry(KILLED.format(1))).resource == ""


def test_a_kernel_before_5_says_it_in_one_line(log):
    assert log.report(entry("Out of memory: Kill process 9 (java) score 900 or sacrifice child")) is None
    said = log.report(entry("Killed process 9 (Web Content) total-vm:9kB, anon-rss:2048kB, file-rss:0kB"))
    assert said.detail == "the kernel killed Web Content (9) for want of memory, which had 2 MiB"


def test_what_is_remembered_of_victims_is_bounded(log):
    for number in range(1000):
        log.report(entry(VICTIM.format(number)))
    assert len(log._victims) == 32


def test_smartd_speaks_of_a_disk(log):
    text = "Device: /dev/sda [SAT], 8 Currently unreadable (pending) sectors"
    said = log.report(entry(text, transport="syslog", identifier="smartd", priority=2))
    assert (said.kind, said.resource, said.source, said.detail) == (K.SMART, "sda", Source.SMARTD, text)
    assert log.report(entry(text, transport="syslog", identifier="smartd", priority=6)) is None


def test_a_program_without_space_tells_that_something_is_full(log):
    text = "write: No space left on device"
    said = log.report(entry(text, transport="stdout", identifier="app", unit="app.service"))
    assert (said.kind, said.resource, said.detail) == (K.FILESYSTEM_FULL, "", f"app.service: {text}")
    watches = "Failed to add an inotify watch: No space left on device"
    assert log.report(entry(watches, transport="stdout")) is None


def test_a_program_cannot_speak_for_the_kernel(log):
    assert log.report(entry("I/O error, dev sda, sector 1", transport="syslog")) is None


@pytest.mark.parametrize(
    ("log_text", "shown"),
    [
        ("redacted", "app: token=<token> for <e-mail> at <address>: No space left on device"),
        ("none", "app: (not shown)"),
        ("full", "app: token=abcdef12345 for me@example.org at 192.0.2.7: No space left on device"),
    ],
)
def test_what_others_say_is_redacted(host, log_text, shown):
    log = KernelLog(paths=host, redact=redactor(log_text))
    text = "token=abcdef12345 for me@example.org at 192.0.2.7: No space left on device"
    assert log.report(entry(text, transport="stdout", identifier="app")).detail == shown


def test_control_letters_do_not_get_through(log):
    said = log.report(entry("INFO: task a\x1b[31mb:7 blocked for more than 120 seconds."))
    assert said.detail.isprintable()
    assert said.resource.isprintable()
    assert log.report(entry("I/O error, dev sda, sector 1\x07\n")).detail.isprintable()


@given(
    text=st.text() | st.from_regex(r"(Killed process \d+ \(|EDAC |INFO: task |I/O error, dev |oom-kill:).{0,80}"),
    speaker=st.sampled_from(["kernel", "journal"]),
)
@settings(max_examples=150, deadline=None)
def test_nothing_that_is_said_breaks_it(text, speaker):
    log = KernelLog(paths=HostPaths(), redact=redactor("redacted"))
    said = log.report(entry(text, transport=speaker, identifier="smartd"))
    assert said is None or (said.detail.isprintable() and said.resource.isprintable())
