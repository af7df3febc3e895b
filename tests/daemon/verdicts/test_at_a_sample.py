"""A verdict at work in the daemon: from the tick to the stored sample, and after a restart."""

from alerting.verdict import Verdict, VerdictKind
from daemon.samples import FLAG_ALARMED, FLAG_EXPECTED, FLAG_SPARED
from daemon.verdicts import effects


def flags(host, count):
    return host.history.last_rows(count).flags


async def loud(host, source, samples=6):
    """Let signals be far too high for some samples, then quiet again; return the flags of the loud ones."""
    source.shift[[3, 4]] = 3.0
    await host.take(samples, learn=False)
    source.shift[:] = 0.0
    found = flags(host, samples)
    await host.take(60, learn=False)
    return found


async def said(host, kind):
    """Give a verdict on the last anomaly."""
    one = next(one for one in host.state.recent_occurrences(10) if one.alertname == "Anomaly")
    verdict = Verdict(f"v-{kind}-{one.id}", one.id, kind, "ann", "", host.clock.time_ms)
    return await host.verdicts.give(verdict, one)


async def test_what_is_expected_is_marked_raises_no_alert_and_survives_a_restart(hosts, quiet_collector):
    source = quiet_collector(12)
    host = await hosts(source)
    await host.take(300)
    assert (await loud(host, source) & FLAG_ALARMED).all()
    episodes, fired = host.watch.episodes, len(host.state.recent_occurrences(10))
    await said(host, VerdictKind.EXPECTED)
    for _ in range(2):
        found = await loud(host, source)
        assert (found & FLAG_EXPECTED).all()
        assert not (found & (FLAG_ALARMED | FLAG_SPARED)).any()
        assert len(host.state.recent_occurrences(10)) == fired
        assert host.watch.episodes == episodes
        host, episodes = await hosts(source), 0
    await host.verdicts.undo(host.verdicts.effects[0].occurrence, host.clock.time_ms)
    assert (await loud(host, source) & FLAG_ALARMED).any()


async def test_what_a_raised_threshold_spares_is_marked_and_shown(hosts, quiet_collector, monkeypatch):
    source = quiet_collector(12)
    host = await hosts(source)
    await host.take(300)
    assert (await loud(host, source) & FLAG_ALARMED).all()
    (changed,) = await said(host, VerdictKind.FALSE)
    bare = host.watch.threshold
    assert changed.startswith(f"threshold {bare:.3g} -> {bare * 1.03:.3g} for anomalies of this host, until ")
    snapshot = await host.take()
    assert snapshot.anomaly.threshold == bare * 1.03
    source.shift[[3, 4]] = 3.0
    peak = (await host.take(learn=False)).anomaly.raw
    source.shift[:] = 0.0
    await host.take(60, learn=False)
    monkeypatch.setattr(effects, "STEP", 2.0)
    monkeypatch.setattr(effects, "ALL_STEPS", 2.0)
    host.watch.threshold = peak / 1.4  # well between the two, whatever noise does
    (found,) = await loud(host, source, 1)
    assert found & (FLAG_SPARED | FLAG_ALARMED | FLAG_EXPECTED) == FLAG_SPARED
