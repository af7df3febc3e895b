"""Starts the child, follows its progress, bounds its time, and never outlives or loses it.

Enters: a job's name and what it needs. Leaves: the job's result, or WorkerError. One child at a time.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping

import structlog

from daemon.errors import WorkerError

_log = structlog.get_logger()

_LINE_LIMIT = 65_536
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


class Child:
    """The one child process. `progress` is (job, share, text) while it works, else None.

    `refuse` raises WorkerError where none is to be started now.
    """

    def __init__(self, refuse: Callable[[], None] = lambda: None) -> None:
        self._refuse = refuse
        self._turn = asyncio.Lock()
        self.progress: tuple[str, float, str] | None = None

    async def run(
        self,
        job: str,
        spec: Mapping[str, object],
        *,
        deadline_seconds: float,
        listener: Callable[[float, str], None] = lambda _share, _text: None,
    ) -> Mapping[str, object]:
        """Run `job` and return its result; `listener` is told of its progress.

        Raises WorkerError when it fails or overruns; cancelling kills it.
        """
        async with self._turn:
            self._refuse()
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",
                    "-m",
                    "daemon.worker",
                    job,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    limit=_LINE_LIMIT,
                    env={**os.environ, **_ONE_THREAD},
                )
            except OSError as error:  # no memory, no process left, or the environment was replaced under us
                raise WorkerError(f"the job {job} cannot be started: {error.strerror}") from error
            self.progress = (job, 0.0, "starting")
            try:
                async with asyncio.timeout(deadline_seconds):
                    return await self._follow(job, process, spec, listener)
            except TimeoutError:
                raise WorkerError(f"the job {job} did not end within {deadline_seconds:g} s and was killed") from None
            finally:
                self.progress = None
                if process.returncode is None:
                    process.kill()  # a result has been handed over and all files are written before it
                    await process.wait()

    async def _follow(
        self,
        job: str,
        process: asyncio.subprocess.Process,
        spec: Mapping[str, object],
        listener: Callable[[float, str], None],
    ) -> Mapping[str, object]:
        assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - pipes were asked for
        process.stdin.write(json.dumps(spec).encode())
        process.stdin.close()
        complaint = asyncio.ensure_future(_last_line(process.stderr))
        try:
            async for line in process.stdout:
                words = json.loads(line)
                if "result" in words:
                    return dict(words["result"])
                if "error" in words:
                    raise WorkerError(f"the job {job} failed: {words['error']}")
                if "progress" in words:
                    self.progress = (job, float(words["progress"]), str(words["text"]))
                    listener(*self.progress[1:])
                    _log.debug("job_progress", job=job, share=words["progress"], text=words["text"])
            code = await process.wait()
            last = await complaint
            killed = "killed, as for want of memory" if code == -signal.SIGKILL else "it said nothing"
            raise WorkerError(f"the job {job} ended with code {code} and no result: {last or killed}")
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise WorkerError(
                f"the job {job} said something that is not understood: {type(error).__name__}: {error}"
            ) from error
        finally:
            complaint.cancel()


async def _last_line(stream: asyncio.StreamReader) -> str:
    """Read `stream` to its end, so that the child never waits for a reader, and return its last line."""
    tail = b""
    while part := await stream.read(_LINE_LIMIT):
        tail = (tail + part)[-_LINE_LIMIT:]
    return " ".join(tail.decode(errors="replace").strip().splitlines()[-1:])
