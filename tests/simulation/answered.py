"""What a daemon has answered to `status`, with something of everything in it."""

from datetime import UTC, datetime

from daemon.web.api import (
    AlertAnswer,
    AnomalyAnswer,
    CapacityAnswer,
    CollectorAnswer,
    ContributionAnswer,
    HostAnswer,
    JobAnswer,
    RiskInBrief,
    SinkAnswer,
    StatusAnswer,
)

NOW = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
STATUS = StatusAnswer(
    version="1.2.3",
    backend="jit",
    host=HostAnswer(name="web-1", kind="vm", virtualization="kvm", cpus=2.0, memory_bytes=2**33),
    started_at="2026-02-26T06:00:00.000Z",
    interval_seconds=30.0,
    samples=8640,
    seq=8640,
    last_sample_at="2026-03-01T05:59:48.000Z",
    signals=80,
    signals_missing=2,
    anomaly=AnomalyAnswer(
        score=0.91,
        score_threshold=0.8,
        raw_score=5.0,
        raw_threshold=3.0,
        network=None,
        contributions=[ContributionAnswer(signal="cpu.busy", share=0.41)],
        episodes=3,
        learning="learning: 3 of 7 days",
        model="surprise-1",
        trained_at="2026-02-28T06:00:00.000Z",
    ),
    collectors=[
        CollectorAnswer(name="cpu", seconds=0.1, problem="", absent=False),
        CollectorAnswer(name="disk", seconds=0.1, problem="cannot read\x1b[31m /proc/diskstats", absent=False),
        CollectorAnswer(name="temperature", seconds=0.0, problem="no sensors", absent=True),
    ],
    alerts=[
        AlertAnswer(
            occurrence="01J000",
            alertname="FilesystemReadOnly",
            severity="critical",
            state="firing",
            resource="/srv",
            sentence="web-1: /srv is mounted read-only [bold]now[/bold]",
            started_at="2026-03-01T05:58:00.000Z",
            fired_at="2026-03-01T05:59:00.000Z",
            sent_to=["team"],
        )
    ],
    sinks=[SinkAnswer(name="team", sent=2, failed=1, dead=0, pending=4)],
    job=JobAnswer(name="train", share=0.4, text="epoch 3 of 6"),
    capacity=[
        CapacityAnswer(resource="/var", used_ratio=0.712, text="full in 9 days (80 %: 7 to 12)"),
        CapacityAnswer(resource="memory", used_ratio=0.4, text="never at this rate"),
        CapacityAnswer(resource="/", used_ratio=0.3, text="never at this rate"),
    ],
    risk=RiskInBrief(within_1h=0.004, within_24h=0.31, missing="", text="memory headroom 6 %, steady"),
    state_directory="/var/lib/presaged",
    config_files=["/etc/presaged/config.toml"],
)
