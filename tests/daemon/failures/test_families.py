import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.redact import redactor
from daemon.collectors.errors import COUNTED, ErrorCounts
from daemon.failures.families import MOST_TEMPLATES, ErrorPatterns, belongs_to, template
from daemon.failures.journal import MAX_MESSAGE, RESTART_SCHEDULED, JournalEntry

NOW_MS = 1_772_344_800_000


def line(message, priority=3, identifier="nginx", transport="syslog", **fields):
    fields = {"time_ms": NOW_MS, "unit": f"{identifier}.service", **fields}
    return JournalEntry(priority=priority, identifier=identifier, transport=transport, message=message, **fields)


def kernel(message, priority=3, **fields):
    return line(message, priority, "kernel", "kernel", **fields)


def patterns(log_text="redacted", now_ms=lambda: NOW_MS):
    counts = ErrorCounts(lambda: "")
    return counts, ErrorPatterns(counts, redactor(log_text), now_ms)


def counted(counts):
    return {name: count for name, count in counts.totals().items() if count}


# Lines as kernels print them.
@pytest.mark.parametrize(
    ("family", "message"),
    [
        ("io", "I/O error, dev sda, sector 88421 op 0x1:(WRITE) flags 0x800 phys_seg 1 prio class 2"),
        ("io", "blk_update_request: critical medium error, dev sdb, sector 12345 op 0x0:(READ)"),
        ("io", "Buffer I/O error on dev dm-3, logical block 1, lost async page write"),
        ("io", "ata1.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x6 frozen"),
        ("io", "sd 2:0:0:0: [sdc] tag#12 FAILED Result: hostbyte=DID_TIME_OUT driverbyte=DRIVER_OK"),
        ("io", "nvme nvme0: controller is down; will reset: CSTS=0xffffffff, PCI_STATUS=0x10"),
        ("io", "md/raid1:md0: Disk failure on sdb1, disabling device."),
        ("filesystem", "EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: reading directory"),
        ("filesystem", "EXT4-fs (sda1): Remounting filesystem read-only"),
        ("filesystem", "XFS (dm-0): log I/O error -5"),
        ("filesystem", "BTRFS error (device sdb): bdev /dev/sdb errs: wr 1, rd 0, flush 0, corrupt 0, gen 0"),
        ("filesystem", "JBD2: Detected IO errors while flushing file data on sda1-8"),
        ("memory", "Out of memory: Killed process 4711 (java) total-vm:8123456kB, anon-rss:7654321kB"),
        ("memory", "Memory cgroup out of memory: Killed process 812 (python3) total-vm:204800kB"),
        ("memory", "kworker/0:1: page allocation failure: order:4, mode:0x40cc0(GFP_KERNEL|__GFP_COMP)"),
        ("network", "NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out"),
        ("network", "nf_conntrack: nf_conntrack: table full, dropping packet"),
        ("network", "TCP: request_sock_TCP: Possible SYN flooding on port 443. Sending cookies."),
        ("network", "enp3s0: Detected Hardware Unit Hang"),
        ("hardware", "mce: [Hardware Error]: Machine check events logged"),
        ("hardware", "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0"),
        ("hardware", "pcieport 0000:00:1c.5: AER: Corrected error received: 0000:03:00.0"),
        ("thermal", "CPU3: Core temperature above threshold, cpu clock throttled (total events = 14)"),
        ("thermal", "mce: CPU3: Package temperature above threshold, cpu clock throttled (total events = 2)"),
        ("hung", "INFO: task postgres:1234 blocked for more than 120 seconds."),
        ("hung", "watchdog: BUG: soft lockup - CPU#2 stuck for 22s! [kworker/2:1:99]"),
        ("hung", "rcu: INFO: rcu_sched self-detected stall on CPU"),
        ("other", "traps: app[99] general protection fault ip:7f1 sp:7ff error:0 in libc.so.6"),
    ],
)
def test_what_the_kernel_says(family, message):
    belongs = belongs_to(kernel(message))
    assert (belongs.speaker, belongs.family, belongs.severity) == ("kernel", family, "error")
    assert belongs.counted == (f"kernel.{family}", "kernel.error")


def test_severities_are_those_of_syslog():
    severities = [belongs_to(kernel("I/O error", priority)) for priority in range(8)]
    assert [one and str(one.severity) for one in severities] == ["critical"] * 3 + ["error", "warning"] + [None] * 3
    assert belongs_to(kernel("e1000e 0000:00:19.0 eno1: NIC Link is Down", 6)).counted == (
        "kernel.network",
        "kernel.warning",
    )
    assert belongs_to(line("no route", 4)).counted == ("journal.warning",)
    assert belongs_to(line("no route", 5)) is None


@pytest.mark.parametrize(
    ("message", "fields", "family", "names"),
    [
        ("shop.service: Failed with result 'exit-code'.", {"result": "exit-code"}, "exit-code", ("units.failed",)),
        ("shop.service: Failed with result 'oom-kill'.", {}, "oom-kill", ("units.failed",)),
        ("shop.service: Failed with result 'new-kind'.", {}, "other", ("units.failed",)),
        (
            "shop.service: Scheduled restart job, restart counter is at 7.",
            {"priority": 6, "message_id": RESTART_SCHEDULED},
            "restarted",
            ("units.restarted",),
        ),
    ],
)
def test_what_systemd_says_of_units(message, fields, family, names):
    belongs = belongs_to(line(message, **{"priority": 4, "identifier": "systemd", "about": "shop.service", **fields}))
    assert (belongs.speaker, belongs.family, belongs.counted) == ("units", family, names)


def test_one_failure_of_a_unit_is_counted_once():
    told = [
        line("shop.service: Main process exited, code=exited, status=1/FAILURE", 4, "systemd", about="shop.service"),
        line("shop.service: Failed with result 'exit-code'.", 4, "systemd", about="shop.service", result="exit-code"),
        line("Failed to start shop.service - The shop.", 3, "systemd", about="shop.service"),
    ]
    counts, errors = patterns()
    errors.take(told)
    assert counted(counts) == {"units.failed": 1}


def test_a_program_that_fakes_systemd_is_a_program():
    assert belongs_to(line("Failed with result 'signal'", identifier="shop")).counted == ("journal.error",)


@pytest.mark.parametrize(
    "entry",
    [
        line("Failed password for root from 192.0.2.7 port 22 ssh2", identifier="sshd"),
        line("pam_unix(cron:session): session opened for user root", identifier="CRON"),
        line("worker died", identifier="presaged"),
        line("avc: denied", transport="audit"),
        kernel("[UFW BLOCK] IN=eth0 OUT= MAC=00:16 SRC=192.0.2.7 DST=192.0.2.8 LEN=40", 4),
        kernel("audit: type=1400 audit(1.2:3): apparmor=DENIED", 4),
    ],
)
def test_noise_is_left_out(entry):
    assert belongs_to(entry) is None


@pytest.mark.parametrize(
    "message",
    [
        "accept4() failed (24: Too many open files)",
        'could not write to file "pg_wal/x": No space left on device',
        "fork: retry: Resource temporarily unavailable",
        "write EMFILE",
    ],
)
def test_a_program_that_came_to_an_end_of_something(message):
    assert belongs_to(line(message, 3)).counted == ("journal.exhausted", "journal.error")
    assert belongs_to(line(message, 6)).counted == ("journal.exhausted",)


@given(st.text(max_size=60), st.integers(-1, 9), st.sampled_from(["kernel", "systemd", "sshd", ""]), st.booleans())
def test_whatever_is_said_is_counted_under_names_that_there_are(message, priority, identifier, is_kernel):
    belongs = belongs_to(line(message, priority, identifier, "kernel" if is_kernel else "syslog"))
    assert belongs is None or (belongs.counted and set(belongs.counted) <= set(COUNTED))


def test_two_of_a_kind_have_one_template():
    said = 'open "/srv/{0}/a b" failed: {1} of 0x{2:x} at 10.0.0.{1}, fe80::{1}, log /var/log/{0}.log'
    one, other = said.format("shop", 17, 4660), said.format("till", 4, 9)
    assert template(one) == template(other)
    assert template(one).startswith("open <quoted> failed: <number> of <number> at <number>")
    assert "<path>" in template(one)
    assert template("worker failed") != template("worker started")


def test_the_newest_of_each_family_is_kept():
    counts, errors = patterns("full")
    errors.take(
        [
            kernel("I/O error, dev sda, sector 1", time_ms=NOW_MS - 3000),
            kernel("I/O error, dev sda, sector 2", time_ms=NOW_MS - 2000),
            line("cannot connect", 4, time_ms=NOW_MS - 1000),
            kernel("Buffer I/O error on dev sda", 2, time_ms=NOW_MS),
        ]
    )
    assert counted(counts) == {
        "kernel.io": 3,
        "kernel.error": 2,
        "kernel.critical": 1,
        "journal.warning": 1,
    }
    shown = [(one.belongs.family, one.text, one.count, one.first_ms, one.last_ms) for one in errors.newest()]
    assert shown == [
        ("io", "Buffer I/O error on dev sda", 1, NOW_MS, NOW_MS),
        ("other", "nginx: cannot connect", 1, NOW_MS - 1000, NOW_MS - 1000),
        ("io", "I/O error, dev sda, sector 2", 2, NOW_MS - 3000, NOW_MS - 2000),
    ]


def test_what_was_said_before_we_ran_is_kept_and_not_counted():
    counts, errors = patterns()
    errors.take([kernel("I/O error", time_ms=NOW_MS - 3_600_000)])
    assert not counted(counts)
    assert [one.text for one in errors.newest()] == ["I/O error"]


# What stands for `{}` is made by the test; the words around it are those of real programs.
SECRETS = {
    "key": (st.from_regex(r"[a-z]{4}[A-Z]{4}[0-9]{4}[A-Za-z0-9]{20,30}", fullmatch=True), ("token {} is wrong", "{}")),
    "word": (
        st.from_regex(r"[A-Za-z0-9!%+]{6,16}", fullmatch=True),
        (
            "login failed, password={}", "PASSWORD: {}", "api_key = {}", "--password {} given", "psql: secret: {}",
            "connecting to postgres://shop:{}@db/shop", "GET https://me:{}@example.org/x?y=1 failed",
        ),
    ),
    "bearer": (
        st.from_regex(r"[A-Za-z0-9._-]{12,40}", fullmatch=True),
        ("Authorization: Bearer {}", "sent bearer {}", "Authorization: Basic {}"),
    ),
    "hex": (st.from_regex(r"[0-9a-f]{40}", fullmatch=True), ("commit {}", "session={}")),
    "mail": (st.from_regex(r"[a-z]{3,8}\.[a-z]{3,8}@[a-z]{3,8}\.org", fullmatch=True), ("to=<{}>, relay=none", "{}")),
    "v4": (
        st.tuples(*[st.integers(1, 254)] * 4).map(lambda parts: ".".join(map(str, parts))),
        ("client {} gone", "from {}:5432", "[{}]: refused"),
    ),
    "v6": (st.ip_addresses(v=6).map(str).filter(lambda text: len(text) > 9), ("client {} gone", "peer [{}]:443")),
}  # fmt: skip


@st.composite
def planted(draw):
    kind = draw(st.sampled_from(sorted(SECRETS)))
    secrets, places = SECRETS[kind]
    secret = draw(secrets)
    before = draw(st.sampled_from(["", "I/O error ", "worker 17: ", "2026-03-01 [error] ", "é " * 40, "word " * 420]))
    after = draw(st.sampled_from(["", " (retry in 5 s)", " x" * 1000, "\nnext"]))
    return secret, before + draw(st.sampled_from(places)).format(secret) + after


@given(planted(), st.integers(0, 4), st.booleans(), st.sampled_from(["redacted", "none"]))
def test_secrets_never_leave_but_in_full(secret_and_message, priority, is_kernel, log_text):
    secret, message = secret_and_message
    message = message[:MAX_MESSAGE]  # as the follower cuts it
    entry = kernel(message, priority) if is_kernel else line(message, priority)
    _, errors = patterns(log_text)
    errors.take([entry])
    left = repr(errors.newest())
    assert secret not in left
    assert secret[: max(8, len(secret) // 2)] not in left
    if log_text == "none":
        assert "I/O error" not in left


def test_full_is_full():
    _, errors = patterns("full")
    errors.take([line("password=hunter22 from 192.0.2.7")])
    assert errors.newest()[0].text == "nginx: password=hunter22 from 192.0.2.7"


def test_of_a_message_that_was_cut_the_last_word_goes_too():
    token = "abcdEFGH1234" * 4
    message = ("x" * (MAX_MESSAGE - 10) + " " + token)[:MAX_MESSAGE]
    _, errors = patterns()
    errors.take([line(message)])
    assert token[:8] not in repr(errors._kept)


def test_a_flood_costs_little_and_keeps_little():
    """A thousand different lines a second is what the follower lets through of 100,000: twenty seconds of it."""
    clock = iter(range(NOW_MS, NOW_MS + 10**9, 1000))
    counts, errors = patterns(now_ms=lambda: next(clock))
    words = "upstream timed out (110: Connection timed out) while reading response header " * 3
    flood = [kernel(f"{number:x} {chr(97 + number % 26) * (number % 37)} {words}") for number in range(1000)]
    begin = time.thread_time()
    for _ in range(20):
        errors.take(flood)
    assert time.thread_time() - begin < 4.0  # of twenty seconds, on a busy machine; it is 0.6
    assert counts.totals()["kernel.error"] == 20_000
    assert all(len(kept.kinds) <= MOST_TEMPLATES for kept in errors._kept.values())
    assert len(errors.newest()) == 1
    assert len(errors.newest()[0].text) <= 200
