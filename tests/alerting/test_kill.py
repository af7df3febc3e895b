"""SIGKILL at the worst moments: what was committed is delivered by the next process, under the same id."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

CHILD = Path(__file__).with_name("delivering_child.py")
SCALE = int(os.environ.get("PRESAGED_TEST_SCALE", "1"))


async def run_child(path, url, mode):
    child = await asyncio.create_subprocess_exec(sys.executable, str(CHILD), str(path), url, mode)
    async with asyncio.timeout(40):
        return await child.wait()


@pytest.mark.soak
@pytest.mark.timeout(60 * max(1, SCALE))
@pytest.mark.parametrize("mode", ["commit", "taken"])
async def test_killed_between_commit_and_note(tmp_path, receive, mode):
    for round_number in range(SCALE):
        receiver = await receive(receive.status(200))
        path = tmp_path / str(round_number) / "state.db"
        assert await run_child(path, receiver.url, mode) == -signal.SIGKILL
        before = [body["id"] for body in receiver.bodies]
        assert len(before) == (1 if mode == "taken" else 0)
        assert await run_child(path, receiver.url, "never") == 0
        after = [body["id"] for body in receiver.bodies]
        assert len(after) == len(before) + 1  # at least once: delivered again only when the note was lost
        assert len(set(after)) == 1
        assert receiver.bodies[-1]["event"] == "firing"


@pytest.mark.soak
@pytest.mark.timeout(60 * max(1, SCALE))
async def test_killed_at_any_moment(tmp_path, receive):
    for round_number in range(3 * SCALE):
        receiver = await receive(receive.status(200))
        path = tmp_path / str(round_number) / "state.db"
        child = await asyncio.create_subprocess_exec(sys.executable, str(CHILD), str(path), receiver.url, "never")
        await asyncio.sleep(0.3 + 0.17 * (round_number % 7))
        if child.returncode is None:
            child.kill()
        await child.wait()
        assert await run_child(path, receiver.url, "never") == 0
        assert len(receiver.bodies) in {1, 2}
        assert len({body["id"] for body in receiver.bodies}) == 1
