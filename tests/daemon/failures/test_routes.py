import aiohttp
import pytest
from aiohttp import web
from failing import NOW_MS

from daemon.errors import StateError
from daemon.failures.answers import FailuresAnswer
from daemon.failures.record import FailureEvent, Source
from daemon.failures.routes import FailureRoutes
from daemon.failures.watch import SourceState
from detectors.findings import FailureKind

EVENT = FailureEvent(
    3, FailureKind.OOM_KILL, Source.KERNEL_LOG, NOW_MS, NOW_MS, NOW_MS, 1, "web.service", "killed",
    {Source.KERNEL_LOG: "c", Source.VMSTAT: "b 1"},
)  # fmt: skip


class Served:
    def __init__(self):
        self.marked, self.limits, self.error = [], [], None

    async def recent(self, limit):
        self.limits.append(limit)
        if self.error:
            raise self.error
        return [EVENT]

    async def mark(self, what, at_ms):
        if self.error:
            raise self.error
        self.marked.append((what, at_ms))
        return EVENT


@pytest.fixture
async def served():
    one = Served()
    routes = FailureRoutes(
        recent=one.recent, sources=lambda: [SourceState("journal", "none here")], mark=one.mark, now_ms=lambda: NOW_MS
    )
    app = web.Application()
    app.add_routes(routes.table())
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:
        one.session = session
        yield one
    await runner.cleanup()


async def test_the_listing(served):
    async with served.session.get("/api/v1/failures?limit=5") as answer:
        listed = FailuresAnswer.model_validate_json(await answer.read())
    assert served.limits == [5]
    (one,) = listed.failures
    assert (one.kind, one.resource, one.source, one.seen_by) == (
        "oom_kill", "web.service", "kernel log", ["kernel log", "vmstat"],
    )  # fmt: skip
    assert one.at == one.since == one.last_at == "2026-03-01T06:00:00.000Z"
    assert listed.sources[0].problem == "none here"


@pytest.mark.parametrize(
    ("body", "marked"),
    [
        ({"what": " the raid "}, ("the raid", None)),
        ({"what": "x", "at": "2026-03-01T05:00:00+00:00"}, ("x", NOW_MS - 3_600_000)),
        ({"what": "x", "at": "2026-03-01T07:00:30+01:00"}, ("x", NOW_MS + 30_000)),
    ],
)
async def test_a_mark(served, body, marked):
    async with served.session.post("/api/v1/failures", json=body) as answer:
        assert answer.status == 201
    assert served.marked == [marked]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"what": ""}, "what: "),
        ({"what": "  "}, "what: the text must be one line"),
        ({"what": "a\nb"}, "what: the text must be one line"),
        ({"what": "x" * 201}, "what: "),
        ({}, "what: Field required"),
        ({"what": "x", "when": 3}, "when: "),
        ({"what": "x", "at": "2026-03-01T06:02:00+00:00"}, "at: a failure cannot be marked before it happens"),
        ({"what": "x", "at": "2026-03-01T06:02:00"}, "at: "),  # of which place?
        ({"what": "x", "at": "1970-01-01T00:00:00+00:00"}, "at: before the year 2000"),
        ({"what": "x", "at": "soon"}, "at: "),
        ([], "body: "),
    ],
)
async def test_what_is_no_mark(served, body, said):
    async with served.session.post("/api/v1/failures", json=body) as answer:
        assert answer.status == 400
        text = await answer.text()
    assert text.startswith(said)
    assert text.count("\n") == 1
    assert served.marked == []


async def test_another_form_and_a_store_that_fails_are_told(served):
    async with served.session.post("/api/v1/failures", data="x") as answer:
        assert answer.status == 415
    served.error = StateError("no room")
    for ask in (served.session.get("/api/v1/failures"), served.session.post("/api/v1/failures", json={"what": "x"})):
        async with ask as answer:
            assert (answer.status, await answer.text()) == (503, "no room\n")
