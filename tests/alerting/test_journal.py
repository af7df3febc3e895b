import asyncio
import json
import socket
from dataclasses import replace

import pytest

from alerting.errors import DeliveryError
from alerting.group import What
from alerting.occurrence import State
from alerting.sinks.base import Notification
from alerting.sinks.journal import MESSAGE_IDS, JournalSink, entries


@pytest.fixture
def journald(tmp_path_factory):
    """A socket like journald's."""
    path = tmp_path_factory.mktemp("j") / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(path))
        server.settimeout(5.0)
        yield server


def sink_for(path, **options):
    return JournalSink("journal", path=str(path), **{"timeout_seconds": 2.0, **options})


def decoded(datagram):
    """The fields of an entry, by the protocol's own rules."""
    fields, rest = {}, datagram
    while rest:
        line, _, rest = rest.partition(b"\n")
        name, mark, value = line.partition(b"=")
        if not mark:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        fields[name.decode("ascii")] = value.decode("utf-8")
    return fields


@pytest.fixture
def page(alert):
    return alert("FilesystemReadOnly", "/srv", sentence="web1: /srv is mounted read-only")


async def test_golden_entries(journald, page, alert, note, golden):
    over = replace(alert("UnitFailed"), state=State.RESOLVED, resolved_ms=page.started_ms)
    notification = note((What.BEGAN, page), (What.ENDED, over))
    await sink_for(journald.getsockname()).send(notification)
    first, second = (decoded(journald.recv(2**20)) for _ in range(2))
    assert first.pop("PRESAGED_DOCUMENT") == notification.payload
    golden("journal", [first, second])


async def test_a_digest_and_a_test_are_one_entry_each(journald, alert, note):
    sink = sink_for(journald.getsockname())
    await sink.send(note.digest(alert("AnomalyWithImpact", ""), alert("AnomalyWithImpact", "")))
    await sink.send(note.test())
    digest, test = (decoded(journald.recv(2**20)) for _ in range(2))
    assert digest["MESSAGE_ID"] == MESSAGE_IDS["digest"]
    assert digest["PRIORITY"] == test["PRIORITY"] == "6"
    assert test["MESSAGE_ID"] == MESSAGE_IDS["test"]
    assert "PRESAGED_OCCURRENCE" not in digest
    journald.setblocking(False)
    with pytest.raises(BlockingIOError):
        journald.recv(1)


def test_message_ids_are_what_they_always_were():
    """Whoever selects by them relies on it: a change of this list is a change of the interface."""
    assert len(set(MESSAGE_IDS.values())) == 4
    assert all(len(one) == 32 and int(one, 16) for one in MESSAGE_IDS.values())


def test_a_value_of_several_lines_keeps_them(page, note):
    notification = note((What.BEGAN, page))
    pretty = Notification(notification.id, json.dumps(json.loads(notification.payload), indent=1))
    fields = decoded(entries(pretty)[0])
    assert fields["PRESAGED_DOCUMENT"] == pretty.payload
    assert fields["MESSAGE"] == page.sentence


def test_no_text_of_a_host_adds_a_field(alert, note):
    odd = alert("UnitFailed", "a\nPRIORITY=0\n.service", sentence="web1: it is so\nPRIORITY=0")
    for entry in entries(note((What.BEGAN, odd))):
        assert decoded(entry)["PRIORITY"] == "2"
        assert entry.count(b"\nPRIORITY=") == 1


def test_an_entry_stays_small_by_leaving_out_the_document(page, alert, note):
    others = [(What.BEGAN, alert("UnitFailed", sentence="💥" * 9000)) for _ in range(200)]
    made = entries(note((What.BEGAN, replace(page, sentence="é" * 60_000)), *others))
    assert len(made) == 51
    assert all(len(entry) <= 48 * 1024 for entry in made)
    assert "PRESAGED_DOCUMENT" not in decoded(made[0])


async def test_a_real_message_of_the_largest_kind_is_taken(journald, page, alert, note):
    others = [(What.BEGAN, alert("UnitFailed", sentence="x" * 8000)) for _ in range(5)]
    await sink_for(journald.getsockname()).send(note((What.BEGAN, page), *others))
    assert len(decoded(journald.recv(2**20))["PRESAGED_DOCUMENT"]) > 40_000


async def test_without_a_journal_it_is_tried_again(tmp_path, note):
    with pytest.raises(DeliveryError) as caught:
        await sink_for(tmp_path / "none").send(note.test())
    assert str(caught.value) == "the journal cannot be reached: No such file or directory"
    assert not caught.value.permanent


async def test_a_journal_that_takes_nothing_stops_nobody(journald, page, alert, note):
    many = note((What.BEGAN, page), *((What.BEGAN, alert("UnitFailed")) for _ in range(3000)))
    sink = sink_for(journald.getsockname(), timeout_seconds=1.0)
    ticks = 0

    async def count():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    counting = asyncio.create_task(count())
    failures = []
    for _ in range(200):  # until its queue is full, however long the system makes it
        try:
            await sink.send(many)
        except DeliveryError as error:
            failures.append(str(error))
            break
    counting.cancel()
    assert failures == ["the journal took nothing within 1 s"]
    assert ticks >= 10
