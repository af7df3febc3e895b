from math import isnan

import pytest

from daemon.collectors.base import Visitors
from daemon.collectors.tcp import PAGE_BYTES, TcpCollector
from daemon.errors import CollectorError, NotAvailable

SOCKSTAT = "sockets: used 11\nTCP: inuse 1 orphan 2 tw 3 alloc 1 mem 4\nUDP: inuse 0 mem 0\n"


def snmp(*, active=42, passive=2, established=7, out=3000, again=0, resets=1, sent=71, errors=5):
    return (
        "Ip: Forwarding DefaultTTL\nIp: 1 64\n"
        "Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs "
        "OutSegs RetransSegs InErrs OutRsts InCsumErrors\n"
        f"Tcp: 1 200 120000 -1 {active} {passive} 0 {resets} {established} 5238 {out} {again} 0 {sent} 0\n"
        "Udp: InDatagrams NoPorts InErrors OutDatagrams\n"
        f"Udp: 85 0 {errors} 90\n"
    )


def netstat(drops=0):
    return f"TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 0 1 {drops}\nIpExt: A\nIpExt: 1\n"


@pytest.fixture
def tcp(tree):
    tree.write("proc/net/snmp", snmp())
    tree.write("proc/net/netstat", netstat())
    tree.write("proc/net/sockstat", SOCKSTAT)
    collector = TcpCollector(paths=tree.paths, gap_seconds=60)
    yield collector
    collector.close()


def test_known_counters_give_exact_values(tree, tcp):
    first = tree.values(tcp, 100)
    assert {name for name, value in first.items() if not isnan(value)} == {
        "tcp.established_count",
        "tcp.orphan_count",
        "tcp.time_wait_count",
        "tcp.memory_bytes",
        "sockets.used_count",
    }
    tree.write(
        "proc/net/snmp", snmp(active=72, passive=5, established=8, out=3270, again=30, resets=4, sent=101, errors=8)
    )
    tree.write("proc/net/netstat", netstat(15))
    assert tree.values(tcp, 130) == pytest.approx(
        {
            "tcp.established_count": 8,
            "tcp.time_wait_count": 3,
            "tcp.orphan_count": 2,
            "tcp.memory_bytes": 4 * PAGE_BYTES,
            "tcp.active_opens_per_second": 1.0,
            "tcp.passive_opens_per_second": 0.1,
            "tcp.retransmits": 0.1,
            "tcp.listen_drops_per_second": 0.5,
            "tcp.resets_per_second": 0.1,
            "tcp.resets_sent_per_second": 1.0,
            "udp.in_errors_per_second": 0.1,
            "sockets.used_count": 11,
        }
    )


def test_nothing_sent_is_nothing_sent_again(tree, tcp):
    tree.values(tcp, 100)
    assert tree.values(tcp, 130)["tcp.retransmits"] == 0.0


def test_columns_are_found_again_when_their_order_changes(tree, tcp):
    tree.values(tcp, 100)
    tree.write("proc/net/netstat", "TcpExt: ListenDrops SyncookiesSent\nTcpExt: 30 999\n")
    assert tree.values(tcp, 130)["tcp.listen_drops_per_second"] == 1.0


def test_a_missing_column_is_a_failure(tree, tcp):
    tree.write("proc/net/netstat", "TcpExt: Other\nTcpExt: 1\n")
    with pytest.raises(CollectorError, match="netstat: not understood"):
        tcp.collect(0)


def test_a_source_that_vanishes_is_said(tree, tcp):
    (tree.paths.proc / "net" / "snmp").unlink()
    with pytest.raises(NotAvailable):
        tcp.collect(0)


def test_who_looks_at_our_own_page_is_left_out(tree, tcp):
    tree.values(tcp, 100)
    seen = TcpCollector(paths=tree.paths, gap_seconds=60, visitors=lambda: Visitors(every=3, local=2))
    values = tree.values(seen, 130)
    seen.close()
    assert values["tcp.established_count"] == 7 - 3 - 2  # of one from this host, both ends are counted
    assert values["sockets.used_count"] == 11 - 3 - 2
    crowd = TcpCollector(paths=tree.paths, gap_seconds=60, visitors=lambda: Visitors(every=99, local=0))
    assert tree.values(crowd, 130)["tcp.established_count"] == 0
    crowd.close()
