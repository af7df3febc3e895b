import asyncio
from contextlib import asynccontextmanager

import pytest

from alerting.heartbeat import Heartbeat

SECOND = 1_000_000_000


def heartbeat_to(url, **options):
    return Heartbeat(url, user_agent="presaged/0.1.0", **{"interval_seconds": 60.0, "timeout_seconds": 2.0, **options})


@asynccontextmanager
async def running(heart):
    task = asyncio.create_task(heart.run())
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_beat_is_an_empty_post(receive, until):
    receiver = await receive(receive.status(200))
    heart = heartbeat_to(receiver.url)
    async with running(heart):
        heart.beat(7)
        await until(lambda: heart.sent == 1)
    assert receiver.bodies == [{}]
    headers = {name.lower(): value for name, value in receiver.headers[0].items()}
    assert headers["user-agent"] == "presaged/0.1.0"
    assert headers["content-length"] == "0"
    assert "content-type" not in headers


async def test_without_a_beat_there_is_silence(receive):
    receiver = await receive(receive.status(200))
    async with running(heartbeat_to(receiver.url, interval_seconds=0.01)):
        await asyncio.sleep(0.2)
    assert receiver.bodies == []


async def test_no_more_than_one_in_an_interval(receive, until):
    """A tick of 30 s that comes now a little early and now a little late gives one ping a minute."""
    receiver = await receive(receive.status(200))
    heart = heartbeat_to(receiver.url)
    expected = 0
    async with running(heart):
        for number, seconds in enumerate((0.0, 30.0, 59.9, 90.1, 120.0, 150.0, 179.8)):
            heart.beat(int(seconds * SECOND))
            expected += number % 2 == 0
            await until(lambda wanted=expected: heart.sent == wanted)
            await asyncio.sleep(0.01)
            assert heart.sent == expected
    assert len(receiver.bodies) == 4


async def test_a_failure_is_tried_again_at_once(receive, until):
    receiver = await receive(receive.status(500), receive.status(500), receive.status(200))
    heart = heartbeat_to(receiver.url, interval_seconds=1.0)
    async with running(heart):
        heart.beat(0)
        await until(lambda: heart.sent == 1)
    assert (len(receiver.bodies), heart.failed) == (3, 0)


async def test_a_receiver_that_is_down_is_counted_once_a_ping_and_ends_nothing(receive, until):
    receiver = await receive(receive.status(500))
    heart = heartbeat_to(receiver.url, interval_seconds=2.0)
    async with running(heart):
        heart.beat(0)
        await until(lambda: heart.failed == 1)
        assert len(receiver.bodies) == 3
        receiver.script[:] = [receive.status(200)]
        heart.beat(3 * SECOND)
        await until(lambda: heart.sent == 1)


async def test_what_is_refused_for_good_is_not_tried_again(receive, until):
    receiver = await receive(receive.status(404))
    heart = heartbeat_to(receiver.url)
    async with running(heart):
        heart.beat(0)
        await until(lambda: heart.failed == 1)
    assert len(receiver.bodies) == 1


async def test_a_receiver_that_hangs_is_left_within_the_interval(receive, until):
    receiver = await receive(receive.hang)
    heart = heartbeat_to(receiver.url, interval_seconds=0.2, timeout_seconds=0.15)
    async with running(heart):
        heart.beat(0)
        await until(lambda: heart.failed == 1, 5)
    assert len(receiver.bodies) <= 2


def test_an_address_that_cannot_work():
    with pytest.raises(ValueError, match="heartbeat: the url must begin with http") as caught:
        heartbeat_to("https://h:hunter2/")
    assert "hunter2" not in str(caught.value)
