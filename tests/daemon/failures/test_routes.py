from dataclasses import replace

import pytest
from asking import asking
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
        self.marked, self.asked, self.error, self.events = [], [], None, 1

    async def recent(self, limit, before):
        self.asked.append((limit, before))
        if self.error:
            raise self.error
        events = [replace(EVENT, id=number, time_ms=NOW_MS + number) for number in range(self.events, 0, -1)]
        return [one for one in events if before is None or (one.time_ms, one.id) < before][:limit]

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
    async with asking(routes.table()) as one.ask:
        yield one


async def test_the_listing(served):
    served.events = 0
    assert FailuresAnswer.model_validate_json((await served.ask("/api/v1/failures"))[2]).failures == []
    served.events = 1
    listed = FailuresAnswer.model_validate_json((await served.ask("/api/v1/failures?limit=5"))[2])
    assert (served.asked[-1], listed.next) == ((6, None), None)
    (one,) = listed.failures
    assert (one.kind, one.resource, one.source, one.seen_by) == (
        "oom_kill", "web.service", "kernel log", ["kernel log", "vmstat"],
    )  # fmt: skip
    assert (one.at, one.since) == ("2026-03-01T06:00:00.001Z", "2026-03-01T06:00:00.000Z")
    assert listed.sources[0].problem == "none here"


async def test_the_listing_comes_in_pages(served):
    served.events = 7
    seen, cursor = [], ""
    while cursor is not None:
        _, _, text = await served.ask(f"/api/v1/failures?limit=3&cursor={cursor}")
        listed = FailuresAnswer.model_validate_json(text)
        seen.append([one.at[-4:-1] for one in listed.failures])
        cursor = listed.next
    assert seen == [["007", "006", "005"], ["004", "003", "002"], ["001"]]


@pytest.mark.parametrize(
    ("body", "marked"),
    [
        ({"what": " the raid "}, ("the raid", None)),
        ({"what": "x", "at": "2026-03-01T05:00:00+00:00"}, ("x", NOW_MS - 3_600_000)),
        ({"what": "x", "at": "2026-03-01T07:00:30+01:00"}, ("x", NOW_MS + 30_000)),
    ],
)
async def test_a_mark(served, body, marked):
    assert (await served.ask("/api/v1/failures", "POST", json=body))[0] == 201
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
        ([], "the body: "),
    ],
)
async def test_what_is_no_mark(served, body, said):
    status, _, text = await served.ask("/api/v1/failures", "POST", json=body)
    assert (status, text.startswith(said)) == (400, True)
    assert text.count("\n") == 1
    assert served.marked == []


async def test_another_form_and_a_store_that_fails_are_told(served):
    assert (await served.ask("/api/v1/failures", "POST", data="x"))[0] == 415
    served.error = StateError("no room")
    for method, more in (("GET", {}), ("POST", {"json": {"what": "x"}})):
        assert (await served.ask("/api/v1/failures", method, **more))[::2] == (503, "no room\n")
