import asyncio
import os
import time

import psutil
import pytest

from daemon.child import Child
from daemon.errors import WorkerError


def mine():
    return [one for one in psutil.Process().children() if one.status() != psutil.STATUS_ZOMBIE]


async def test_the_result_and_the_progress_before_it(pretend, until):
    pretend("""
spec = json.load(sys.stdin)
print(json.dumps({"progress": 0.5, "text": "half " + sys.argv[-1]}), flush=True)
print(json.dumps({"text": "a remark"}), flush=True)
while not os.path.exists(spec["go"]): time.sleep(0.005)
print(json.dumps({"result": {"threads": os.environ["OMP_NUM_THREADS"]}}), flush=True)
time.sleep(60)
""")
    child, go = Child(), f"/tmp/presaged-go-{os.getpid()}"
    assert child.progress is None
    task = asyncio.create_task(child.run("train", {"go": go}, deadline_seconds=20))
    try:
        await until(lambda: child.progress == ("train", 0.5, "half train"))
        with open(go, "w"):  # noqa: ASYNC230, PTH123 - an empty file
            pass
        assert await task == {"threads": "1"}
    finally:
        os.unlink(go)  # noqa: PTH108
    assert child.progress is None
    assert mine() == []  # it is not waited for after its result, and does not stay


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ('print(json.dumps({"error": "MemoryError: too much"}))', "the job train failed: MemoryError: too much"),
        ("sys.exit(3)", "ended with code 3 and no result: it said nothing"),
        ('sys.exit("no luck today")', "ended with code 1 and no result: no luck today"),
        ("os.kill(os.getpid(), 9)", "ended with code -9 and no result: killed, as for want of memory"),
        ("raise ValueError('broken')", "ended with code 1 and no result: ValueError: broken"),
        ("sys.stderr.write('x' * 3_000_000 + '\\nthe end'); sys.exit(1)", "no result: the end"),
        ("pass", "ended with code 0 and no result"),
        ("print('hello there')", "said something that is not understood"),
        ("print(42)", "said something that is not understood"),
        ('print("[1]"); print("null")', "said something that is not understood"),
        ("print('\"result\"')", "said something that is not understood"),
        ("print('{\"result\": 5}')", "said something that is not understood"),
        ("print('{\"progress\": 0.5}')", "said something that is not understood"),
        ('print(\'{"progress": null, "text": ""}\')', "said something that is not understood"),
        ('print(\'{"progress": "a", "text": ""}\')', "said something that is not understood"),
        ("print('[' * 60_000)", "said something that is not understood"),
        ("print('x' * 200_000)", "said something that is not understood"),
        ("sys.stdout.buffer.write(bytes(range(128, 255)) + b'\\n')", "said something that is not understood"),
        ("sys.stdin.close(); os.close(0); sys.exit(4)", "ended with code 4"),
    ],
    ids=range(19),
)
async def test_whatever_goes_wrong_is_one_kind_of_error(pretend, code, reason):
    pretend(code)
    child = Child()
    with pytest.raises(WorkerError, match=reason):
        await child.run("train", {"big": "x" * 200_000}, deadline_seconds=20)
    assert child.progress is None
    assert mine() == []


async def test_one_that_overruns_is_killed(pretend):
    pretend("time.sleep(60)")
    began = time.monotonic()
    with pytest.raises(WorkerError, match=r"did not end within 0\.3 s and was killed"):
        await Child().run("train", {}, deadline_seconds=0.3)
    assert time.monotonic() - began < 5
    assert mine() == []


async def test_one_that_is_killed_from_outside_is_an_error(pretend, until):
    pretend("time.sleep(60)")
    task = asyncio.create_task(Child().run("train", {}, deadline_seconds=20))
    await until(mine)
    mine()[0].kill()
    with pytest.raises(WorkerError, match="ended with code -9"):
        await task


@pytest.mark.parametrize("moment", [0.0, 0.01, 0.3])
async def test_cancelling_kills_it(pretend, moment):
    pretend("time.sleep(60)")
    child = Child()
    task = asyncio.create_task(child.run("train", {}, deadline_seconds=20))
    await asyncio.sleep(moment)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert mine() == []
    assert child.progress is None


async def test_one_child_at_a_time(pretend, tmp_path):
    pretend("""
at = json.load(sys.stdin)["at"]
os.open(at, os.O_CREAT | os.O_EXCL)
time.sleep(0.1)
os.unlink(at)
print(json.dumps({"result": {}}), flush=True)
""")
    child = Child()
    spec = {"at": str(tmp_path / "alone")}
    await asyncio.gather(*(child.run("train", spec, deadline_seconds=20) for _ in range(3)))


async def test_a_program_that_is_not_there_does_not_block_the_next(monkeypatch, pretend):
    child = Child()
    with monkeypatch.context() as patch:
        patch.setattr("daemon.child.sys.executable", "/nowhere/python")
        with pytest.raises(WorkerError, match="cannot be started"):
            await child.run("train", {}, deadline_seconds=5)
    pretend('print(json.dumps({"result": {"a": 1}}), flush=True)')
    assert await child.run("train", {}, deadline_seconds=20) == {"a": 1}


async def test_the_real_worker_answers():
    with pytest.raises(WorkerError, match=r"ended with code 2 and no result: usage: python -m daemon\.worker"):
        await Child().run("no such job", {}, deadline_seconds=30)
