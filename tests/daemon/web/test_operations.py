import gzip
import json

import pytest
from asking import asking
from problem import KIND
from pydantic import BaseModel, Field

from daemon.errors import Conflict, DeskError, NotFound, StateError
from daemon.web.operations import (
    Count,
    Operation,
    PageQuery,
    Query,
    body_of,
    cursor_of,
    page_of,
    place_of,
    query_of,
)


class Told(BaseModel):
    words: list[str]


class Wanted(BaseModel):
    text: str
    count: int = 1


class Asked(Query):
    many: list[str] = Field(default_factory=list)
    count: Count = 3


WORDS = ["long"] * 400


async def listing(request):
    asked = query_of(request, PageQuery)
    page, following = page_of([f"w{number}" for number in range(10)], str, asked)
    return Told(words=[*page, str(following)])


async def short(_request):
    return Told(words=["short"])


async def long(_request):
    return Told(words=WORDS)


async def take(request):
    return Told(words=[(await body_of(request, Wanted)).text])


async def many(request):
    asked = query_of(request, Asked)
    return Told(words=[*asked.many, str(asked.count)])


async def other(request):
    return await body_of(request, Told)


def failing(error):
    async def fail(_request):
        raise error

    return fail


OPERATIONS = [
    Operation("GET", "/listing", "a", "A.", listing, answer=Told, query=PageQuery),
    Operation("GET", "/short", "b", "B.", short, answer=Told),
    Operation("GET", "/long", "c", "C.", long, answer=Told),
    Operation("GET", "/secret", "d", "D.", long, answer=Told, private=True),
    Operation("GET", "/many", "e", "E.", many, answer=Told, query=Asked),
    Operation("POST", "/take", "f", "F.", take, answer=Told, body=Wanted, status=201),
    Operation("POST", "/other", "g", "G.", other, answer=Told, body=Wanted),
    *(
        Operation("GET", f"/{type(error).__name__}", "h", "H.", failing(error), answer=Told)
        for error in (DeskError("why"), NotFound("why"), Conflict("why"), StateError("why"), KeyError("why"))
    ),
]


@pytest.fixture
async def ask():
    async with asking(OPERATIONS) as asks:
        yield asks


async def test_an_answer_that_has_not_changed_is_not_sent_again(ask):
    status, headers, text = await ask("/short")
    assert (status, json.loads(text), headers["Cache-Control"]) == (200, {"words": ["short"]}, "private, no-cache")
    tag = headers["ETag"]
    for said in (tag, f'"other", {tag}', tag.removeprefix("W/")):
        status, headers, text = await ask("/short", headers={"If-None-Match": said})
        assert (status, headers["ETag"], text) == (304, tag, "")
    assert (await ask("/short", headers={"If-None-Match": 'W/"other"'}))[0] == 200
    assert (await ask("/long"))[1]["ETag"] != tag


async def test_what_is_long_is_compressed_for_those_who_take_it(ask):
    async with ask.session.get("/long", auto_decompress=False) as answer:
        body = await answer.read()
    assert (answer.headers["Content-Encoding"], answer.headers["Vary"]) == ("gzip", "Accept-Encoding")
    assert json.loads(gzip.decompress(body))["words"] == WORDS
    assert len(body) < 200
    for headers in ({"Accept-Encoding": "identity"}, {"Accept-Encoding": "br"}):
        status, answered, text = await ask("/long", headers=headers)
        assert (status, "Content-Encoding" in answered, json.loads(text)["words"]) == (200, False, WORDS)
    assert "Content-Encoding" not in (await ask("/short"))[1]


async def test_what_is_large_is_compressed_off_the_loop(monkeypatch):
    done = []

    class Door:
        async def run(self, run, *, deadline_seconds, what):
            done.append(what)
            return run()

    async with asking(OPERATIONS, Door()) as ask:
        await ask("/long")
        assert done == []
        monkeypatch.setattr("daemon.web.operations._LARGE", 1000)
        assert json.loads((await ask("/long"))[2])["words"] == WORDS
        assert done == ["compression"]


async def test_a_secret_is_neither_kept_nor_compressed(ask):
    _, headers, text = await ask("/secret")
    assert (headers["Cache-Control"], json.loads(text)["words"]) == ("no-store", WORDS)
    assert not {"ETag", "Content-Encoding"} & set(headers)


@pytest.mark.parametrize(
    ("name", "status"), [("DeskError", 400), ("NotFound", 404), ("Conflict", 409), ("StateError", 503)]
)
async def test_an_error_of_the_tree_is_a_problem(ask, name, status):
    found, headers, text = await ask(f"/{name}")
    assert (found, headers["Content-Type"], text) == (status, KIND, "why\n")


async def test_any_other_error_is_not_hidden(ask, caplog):
    assert (await ask("/KeyError"))[0] == 500
    assert "KeyError" in caplog.text


async def test_a_body_is_what_its_model_says(ask):
    assert (await ask("/take", "POST", json={"text": "x"}))[0] == 201
    status, _, text = await ask("/take", "POST", json={"count": "x"})
    assert (status, text) == (400, "text: Field required\n")
    async with ask.session.post("/take", json={"count": "x"}) as answer:
        assert [one["field"] for one in (await answer.json(content_type=None))["errors"]] == ["text", "count"]
    for body, headers, expected in (
        (b'{"text": "x"}', {"Content-Type": "text/plain"}, 415),
        (b"", {}, 415),
        (b"{", {"Content-Type": "application/json"}, 400),
        (b"x" * 70_000, {"Content-Type": "application/json"}, 413),
    ):
        status, answered, text = await ask("/take", "POST", data=body, headers=headers)
        assert (status, answered["Content-Type"], text.count("\n")) == (expected, KIND, 1)


async def test_what_reads_other_than_it_declares_is_a_mistake_of_ours(ask, caplog):
    assert (await ask("/other", "POST", json={"text": "x"}))[0] == 500
    assert "g reads another body than it declares" in caplog.text


async def test_a_query_that_nobody_reads_is_refused(ask):
    assert (await ask("/short?verbose=1"))[::2] == (400, "verbose: Extra inputs are not permitted\n")
    assert json.loads((await ask("/many?many=a&many=b&count=7"))[2]) == {"words": ["a", "b", "7"]}
    assert json.loads((await ask("/many?many=a"))[2]) == {"words": ["a", "3"]}
    for wrong in ("count=1&count=2", "count=1.0", "count=%207", "count=1_0", "count=%D9%A3", "count=-1x"):
        assert (await ask(f"/many?{wrong}"))[0] == 400, wrong


@pytest.mark.parametrize("limit", range(1, 12))
async def test_pages_together_are_the_whole(ask, limit):
    seen, cursor = [], ""
    for _ in range(11):
        *page, cursor = json.loads((await ask(f"/listing?limit={limit}&cursor={cursor}"))[2])["words"]
        assert len(page) <= limit
        seen += page
        if cursor == "None":
            break
    assert seen == [f"w{number}" for number in range(10)]
    assert (await ask("/listing?cursor=w77"))[0] == 400


def test_a_place_in_time_is_a_cursor():
    assert place_of(PageQuery()) is None
    assert place_of(PageQuery(cursor=cursor_of(-5, 7))) == (-5, 7)
    for wrong in ("5", "5.", ".5", "5.6.7", "a.b", "\u0663.1", "1." + "9" * 30, "--1.2"):
        with pytest.raises(DeskError, match="cursor: it leads nowhere"):
            place_of(PageQuery(cursor=wrong))
