"""Which series of node_exporter stand behind which of our signals.

Enters: the signals of the collectors. Leaves: tables, and METRICS, the names of all series that are of use.
"""

from daemon.collectors import cpu, kernel, memory, pressure, process, tcp
from detectors.findings import Unit

BOOT = "node_boot_time_seconds"
CPU = "node_cpu_seconds_total"
BUSY_MODES = ("user", "nice", "system", "irq", "softirq", "steal")
MODES = (*BUSY_MODES, "idle", "iowait")
CPU_SHARES = (
    (cpu.BUSY, BUSY_MODES),
    (cpu.USER, ("user", "nice")),
    (cpu.SYSTEM, ("system",)),
    (cpu.IOWAIT, ("iowait",)),
    (cpu.STEAL, ("steal",)),
    (cpu.IRQ, ("irq", "softirq")),
)
MEMORY_GAUGES = tuple(
    (spec, tuple(f"node_memory_{name.decode()}_bytes" for name in names)) for spec, names in memory.GAUGES
)
MEMORY_TOTAL, MEMORY_AVAILABLE = "node_memory_MemTotal_bytes", "node_memory_MemAvailable_bytes"
SWAP_TOTAL, SWAP_FREE = "node_memory_SwapTotal_bytes", "node_memory_SwapFree_bytes"
VMSTAT = tuple((spec, f"node_vmstat_{line.decode().strip()}", factor) for spec, line, factor in memory.COUNTERS)
PRESSURE = tuple(
    (spec, f"node_pressure_{name}_{'waiting' if word == b'some ' else 'stalled'}_seconds_total")
    for name, lines in pressure.WANTED
    for word, spec in lines
)
# signals of the whole host that are one series each: read as it is, or its change per second
GAUGES = (
    (tcp.ESTABLISHED, "node_netstat_Tcp_CurrEstab"),
    (tcp.SOCKETS, "node_sockstat_sockets_used"),
    (tcp.ORPHANS, "node_sockstat_TCP_orphan"),
    (tcp.TIME_WAIT, "node_sockstat_TCP_tw"),
    (tcp.MEMORY, "node_sockstat_TCP_mem_bytes"),
    (kernel.DESCRIPTORS_COUNT, "node_filefd_allocated"),
    (process.RUNNING, "node_procs_running"),
    (process.BLOCKED, "node_procs_blocked"),
    (process.TOTAL, "node_processes_threads"),
)
COUNTERS = (
    (cpu.INTERRUPTS, "node_intr_total"),
    (cpu.SWITCHES, "node_context_switches_total"),
    (tcp.LISTEN_DROPS, "node_netstat_TcpExt_ListenDrops"),
    (tcp.UDP_ERRORS, "node_netstat_Udp_InErrors"),
    *((spec, f"node_netstat_Tcp_{column.decode()}") for spec, column in tcp.TCP_RATES),
    (process.FORKS, "node_forks_total"),
)
LOADS = ((cpu.LOAD_ONE, "node_load1"), (cpu.LOAD_FIVE, "node_load5"))
SEGMENTS_AGAIN, SEGMENTS_OUT = "node_netstat_Tcp_RetransSegs", "node_netstat_Tcp_OutSegs"
DESCRIPTORS_MAXIMUM = "node_filefd_maximum"
THREADS, THREAD_LIMITS = "node_processes_threads", ("node_processes_max_threads", "node_processes_max_processes")
# as they stand in the collectors of disks and interfaces
DISK_COUNTERS = (
    ("read_bytes_per_second", Unit.BYTES_PER_SECOND, "node_disk_read_bytes_total"),
    ("write_bytes_per_second", Unit.BYTES_PER_SECOND, "node_disk_written_bytes_total"),
    ("reads_per_second", Unit.PER_SECOND, "node_disk_reads_completed_total"),
    ("writes_per_second", Unit.PER_SECOND, "node_disk_writes_completed_total"),
)
DISK_WAITS = (
    ("read_await_seconds", "node_disk_read_time_seconds_total", "node_disk_reads_completed_total"),
    ("write_await_seconds", "node_disk_write_time_seconds_total", "node_disk_writes_completed_total"),
)
DISK_READS, DISK_WRITES = "node_disk_reads_completed_total", "node_disk_writes_completed_total"
DISK_BUSY = "node_disk_io_time_seconds_total"
NETWORK_COUNTERS = (
    ("receive_bytes_per_second", Unit.BYTES_PER_SECOND, ("node_network_receive_bytes_total",)),
    ("transmit_bytes_per_second", Unit.BYTES_PER_SECOND, ("node_network_transmit_bytes_total",)),
    ("receive_packets_per_second", Unit.PER_SECOND, ("node_network_receive_packets_total",)),
    ("transmit_packets_per_second", Unit.PER_SECOND, ("node_network_transmit_packets_total",)),
    ("errors_per_second", Unit.PER_SECOND, ("node_network_receive_errs_total", "node_network_transmit_errs_total")),
    ("drops_per_second", Unit.PER_SECOND, ("node_network_receive_drop_total", "node_network_transmit_drop_total")),
)
PACKETS = ("node_network_receive_packets_total", "node_network_transmit_packets_total")
SIZE, FREE, AVAILABLE = (f"node_filesystem_{name}_bytes" for name in ("size", "free", "avail"))
FILES, FILES_FREE, READ_ONLY = (f"node_filesystem_{name}" for name in ("files", "files_free", "readonly"))
MOUNT = (SIZE, FREE, AVAILABLE, FILES, FILES_FREE, READ_ONLY)
MOUNT_LABELS = ("mountpoint", "fstype", "device")
MOUNT_SIGNALS = (
    ("used", Unit.RATIO),
    ("free_bytes", Unit.BYTES),
    ("inodes_used", Unit.RATIO),
    ("read_only", Unit.RATIO),
)

METRICS: frozenset[str] = frozenset(
    (
        *(BOOT, CPU, MEMORY_TOTAL, MEMORY_AVAILABLE, SWAP_TOTAL, SWAP_FREE, SEGMENTS_AGAIN, SEGMENTS_OUT),
        *(DESCRIPTORS_MAXIMUM, THREADS, *THREAD_LIMITS, DISK_BUSY),
        *MOUNT,
        *(name for _, names in MEMORY_GAUGES for name in names),
        *(name for _, name, _ in VMSTAT),
        *(name for _, name in (*PRESSURE, *GAUGES, *COUNTERS, *LOADS)),
        *(name for _, _, name in DISK_COUNTERS),
        *(seconds for _, seconds, _ in DISK_WAITS),
        *(name for _, _, names in NETWORK_COUNTERS for name in names),
    )
)
