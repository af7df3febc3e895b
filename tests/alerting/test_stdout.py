import asyncio
import json
import os

import pytest

from alerting.errors import DeliveryError
from alerting.group import What
from alerting.sinks.base import Notification
from alerting.sinks.stdout import StdoutSink, line


@pytest.fixture
def pipe():
    """The two ends of a pipe; a test may close either."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:  # the test has closed it
            continue


def sink_for(descriptor, **options):
    return StdoutSink("out", descriptor=descriptor, **{"timeout_seconds": 2.0, **options})


def fill(descriptor):
    os.set_blocking(descriptor, False)
    try:
        while True:
            os.write(descriptor, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(descriptor, True)


async def test_a_notification_is_one_line(pipe, alert, note):
    page = alert("FilesystemReadOnly", "/srv", sentence="web1: /srv is\nmounted read-only")
    sink = sink_for(pipe[1])
    await sink.send(note((What.BEGAN, page)))
    await sink.send(note.test())
    assert os.read(pipe[0], 65_536).decode() == (
        "[firing] web1: FIRING: FilesystemReadOnly /srv | web1: /srv is mounted read-only\n"
        "[test] web1: a test of the sink ops | web1: nothing is wrong; this is a test of the sink ops\n"
    )


def test_a_line_is_written_whole_or_not_at_all():
    long = line(Notification("x", json.dumps({"event": "firing", "summary": "s", "sentence": "💥" * 9000})))
    assert len(long.encode()) <= 4096
    assert long.endswith("💥\n")


async def test_a_pipe_that_nobody_reads_stops_nobody(pipe, note):
    fill(pipe[1])
    sink = sink_for(pipe[1], timeout_seconds=0.3)
    sending = asyncio.create_task(sink.send(note.test()))
    ticks = 0
    while not sending.done():
        await asyncio.sleep(0.01)
        ticks += 1
    with pytest.raises(DeliveryError, match=r"nobody read standard output for 0\.3 s") as caught:
        await sending
    assert not caught.value.permanent
    assert ticks >= 5
    os.read(pipe[0], 1 << 20)
    await sink.send(note.test())


async def test_a_reader_that_has_gone_never_comes_back(pipe, note):
    os.close(pipe[0])
    with pytest.raises(DeliveryError, match="nobody reads standard output any more") as caught:
        await sink_for(pipe[1]).send(note.test())
    assert caught.value.permanent


async def test_a_closed_output_is_an_error_like_any_other(pipe, note):
    os.close(pipe[1])
    with pytest.raises(DeliveryError, match="standard output does not take it: Bad file descriptor") as caught:
        await sink_for(pipe[1]).send(note.test())
    assert not caught.value.permanent
