import time
from math import isfinite, isnan

import pytest

from daemon.collectors import NAMES, CollectorContext, build_collectors
from daemon.collectors.application import Asked
from daemon.errors import NotAvailable
from daemon.signals import Kind
from detectors.findings import Unit

MAY_EXCEED_ONE = ("load.", "self.cpu")


def test_every_name_is_built_under_its_name_and_disabled_ones_are_not():
    collectors = build_collectors(CollectorContext())
    assert (*(collector.name for collector in collectors), "application") == NAMES
    assert len(set(NAMES)) == len(NAMES)
    some = build_collectors(CollectorContext(disabled=frozenset({"cpu", "self"})))
    assert [collector.name for collector in some] == [one for one in NAMES[:-1] if one not in {"cpu", "self"}]
    asked = (Asked("shop", "http://127.0.0.1:9/", "", ("depth",)),)
    only = frozenset(NAMES[:-1])
    shops = build_collectors(CollectorContext(applications=asked, disabled=only))
    assert [collector.name for collector in shops] == ["application.shop"]
    shops[0].close()
    assert not build_collectors(CollectorContext(applications=asked, disabled=only | {"application"}))
    for collector in (*collectors, *some):
        assert collector.deadline_seconds > 0
        collector.close()


def test_the_context_reaches_the_collectors(tree):
    context = CollectorContext(
        paths=tree.paths,
        exclude_mounts=("/m",),
        exclude_disks=("sdx",),
        exclude_interfaces=("wg*",),
        latency_targets=("127.0.0.1:9",),
    )
    by_name = {collector.name: collector for collector in build_collectors(context)}
    assert by_name["filesystem"]._filter._excluded.match("/m")
    assert by_name["disk"]._excluded.match("sdx")
    assert by_name["network"]._excluded.match("wg0")
    assert [target.host for target in by_name["latency"]._targets] == ["127.0.0.1"]
    for collector in by_name.values():
        collector.close()


def test_a_host_without_anything_fails_nowhere_but_by_name(tree):
    for collector in build_collectors(CollectorContext(paths=tree.paths, disabled=frozenset({"self"}))):
        with pytest.raises(NotAvailable):
            collector.collect(0)
        collector.close()


def test_the_real_host_gives_sane_values_twice():
    collectors = build_collectors(CollectorContext())
    seen = {}
    for _ in range(2):
        for collector in collectors:
            try:
                measured = collector.collect(time.monotonic_ns())
            except NotAvailable:
                continue
            seen[collector.name] = measured
        time.sleep(0.1)
    for collector in collectors:
        collector.close()
    assert {"cpu", "memory", "filesystem", "network", "tcp", "kernel", "process", "self"} <= set(seen)
    names = [spec.name for measured in seen.values() for spec, _ in measured]
    assert len(names) == len(set(names))
    for measured in seen.values():
        for spec, value in measured:
            unreachable = spec.family == "latency" and isnan(value)
            # counters of /proc may step back a jiffy: missing then, and never negative
            assert unreachable or isnan(value) == (spec.kind is Kind.RATE and isnan(value)), spec.name
            assert isnan(value) or (isfinite(value) and (value >= 0 or spec.unit is Unit.CELSIUS)), (spec.name, value)
            if spec.unit is Unit.RATIO and not spec.name.startswith(MAY_EXCEED_ONE):
                assert isnan(value) or value <= 1, (spec.name, value)
    finite = [spec.name for measured in seen.values() for spec, value in measured if isfinite(value)]
    assert len(finite) > 0.9 * len(names)
