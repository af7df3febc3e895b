"""The operations of the API: each is declared once, with what it takes and what it answers.

Enters: a declaration, and the handler that does it. Leaves: a route of the server, and what the document of the API
(`daemon.web.openapi`) says of it. Reading the query and the body, JSON, ETag, compression and problems are made here,
so that no two routes differ in them; a handler returns its answer, or raises an error of the tree.
"""

import asyncio
import hashlib
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar, get_origin

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from alerting.render import one_line
from daemon.errors import DeskError, PresagedError
from daemon.offload import Offload
from daemon.web.forecast_answers import FieldProblem
from daemon.web.problems import of_http, problem, status_of

Method = Literal["GET", "POST", "DELETE"]
Handler = Callable[[web.Request], Awaitable["BaseModel | Encoded | web.StreamResponse"]]
T = TypeVar("T", bound=BaseModel)
R = TypeVar("R")

MOST_LISTED = 1000
DEFAULT_LISTED = 100

_BODY_SECONDS = 10.0
_LEAST_COMPRESSED = 1024  # bytes: below it is one packet anyway
_LARGE = 64 * 1024  # bytes: from there on to compress takes a millisecond
_PACK_SECONDS = 10.0
_MOST_KEY = 60  # letters of a body's own key that are shown again
_MOST_ERRORS = 10
_MOST_DIGITS = 18
_NOWHERE = FieldProblem(field="cursor", detail="it leads nowhere, or no longer: begin without it")


@dataclass(frozen=True, slots=True)
class Encoded:
    """An answer in bytes; `compressed` is the same for those who take gzip."""

    body: bytes
    compressed: bytes | None
    tag: str


@dataclass(frozen=True, slots=True)
class Operation:
    """What can be asked of the API.

    `answer` is its model, or the media type of what is no JSON; `errors` are the statuses beside those that any
    operation has, `parts` models within an answer that is no JSON. `private`: it hands out a secret, which is never
    kept nor compressed. `page`: whoever comes by a link of a notification gets a page instead.
    """

    method: Method
    path: str
    id: str
    summary: str
    handler: Handler
    answer: type[BaseModel] | str
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_optional: bool = False
    status: int = 200
    errors: tuple[int, ...] = ()
    private: bool = False
    page: bool = False
    parts: tuple[type[BaseModel], ...] = ()

    def route(self) -> web.RouteDef:
        """Return the route that serves it."""
        if self.method == "GET":  # and HEAD with it
            return web.get(self.path, self._serve)
        return web.route(self.method, self.path, self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        request[_OPERATION] = self
        try:
            if self.query is None and request.query and not self.page:
                query_of(request, NoQuery)
            answer = await self.handler(request)
            if isinstance(answer, BaseModel) and not self.private:
                answer = await _encoded(request, answer)
        except FieldErrors as error:
            return problem(400, str(error), errors=error.errors)
        except PresagedError as error:
            return problem(status_of(error), str(error))
        except web.HTTPException as error:
            return of_http(error)
        if isinstance(answer, web.StreamResponse):
            return answer
        if isinstance(answer, Encoded):
            return _response(request, answer, self.status)
        headers = {"Cache-Control": "no-store"}
        return web.Response(status=self.status, body=to_json(answer), content_type="application/json", headers=headers)


OFFLOAD = web.AppKey("offload", Offload)
_OPERATION = web.RequestKey("operation", Operation)


class FieldErrors(DeskError):
    """Fields of the query or the body are wrong; the text names the first."""

    def __init__(self, errors: Sequence[FieldProblem]) -> None:
        self.errors = errors
        first = errors[0]
        super().__init__(f"{first.field or 'the body'}: {first.detail}")


def _decimal(value: object) -> object:
    if isinstance(value, str) and not (value.isascii() and value.isdecimal()):
        raise ValueError("a whole number is wanted")
    return value


Count = Annotated[int, BeforeValidator(_decimal)]


class Query(BaseModel):
    """What stands behind the question mark; a name that is none is refused, for it is a mistake in writing."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class NoQuery(Query):
    """Nothing may stand there."""


class PageQuery(Query):
    """Which part of a listing is wanted."""

    limit: Count = Field(DEFAULT_LISTED, ge=1, le=MOST_LISTED, description="How many entries at most.")
    cursor: str = Field("", max_length=1000, description="`next` of the page before; nothing for the first page.")


class WholeQuery(PageQuery):
    """The same of a listing that is short by nature: all of it where nothing is said."""

    limit: Count = Field(MOST_LISTED, ge=1, le=MOST_LISTED, description="How many entries at most.")


FIRST_PAGE = WholeQuery()


def place_of(query: PageQuery) -> tuple[int, int] | None:
    """Return the two numbers of a cursor of `cursor_of`, None for the first page. Raises FieldErrors."""
    if not query.cursor:
        return None
    parts = query.cursor.split(".")
    if len(parts) != 2 or not all(  # noqa: PLR2004 - a pair
        part.isascii() and part.removeprefix("-").isdecimal() and len(part) <= _MOST_DIGITS for part in parts
    ):
        raise FieldErrors([_NOWHERE])
    return int(parts[0]), int(parts[1])


def cursor_of(time_ms: int, number: int) -> str:
    """Return the cursor that leads behind the entry of this time and number."""
    return f"{time_ms}.{number}"


def page_of(entries: Sequence[R], key: Callable[[R], str], query: PageQuery) -> tuple[list[R], str | None]:
    """Return the page of `entries` behind the cursor, and the cursor of the page after it, None at the end.

    `key` names an entry. Raises FieldErrors for a cursor whose entry is gone.
    """
    first = 0
    if query.cursor:
        place = next((place for place, one in enumerate(entries) if key(one) == query.cursor), None)
        if place is None:
            raise FieldErrors([_NOWHERE])
        first = place + 1
    page = list(entries[first : first + query.limit])
    return page, key(page[-1]) if first + len(page) < len(entries) else None


def query_of(request: web.Request, model: type[T]) -> T:
    """Return what stands behind the question mark as `model`. Raises FieldErrors."""
    declared = request[_OPERATION]
    if (declared.query or NoQuery) is not model:
        raise RuntimeError(f"{declared.id} reads another query than it declares")
    given: dict[str, object] = {}
    for name in request.query:
        values = request.query.getall(name)
        given[name] = values if len(values) > 1 or _takes_many(model, name) else values[0]
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise _field_errors(error) from error


async def body_of(request: web.Request, model: type[T]) -> T:
    """Return the body as `model`. Raises FieldErrors, or HTTPUnsupportedMediaType for what is no JSON."""
    declared = request[_OPERATION]
    if declared.body is not model:
        raise RuntimeError(f"{declared.id} reads another body than it declares")
    body = await received(request)
    if not body and declared.body_optional:
        return model()
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="the body must be JSON, with Content-Type: application/json")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise _field_errors(error) from error


async def received(request: web.Request) -> bytes:
    """Return the body. Raises HTTPRequestTimeout for one that does not come in time."""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body did not come within {_BODY_SECONDS:g} s") from None


def pack(body: bytes) -> Encoded:
    """Return JSON with what a listener may have of it; what is large takes milliseconds and is done off the loop."""
    compressed = None
    if len(body) >= _LEAST_COMPRESSED:
        packer = zlib.compressobj(3, wbits=31)
        compressed = packer.compress(body) + packer.flush()
    return Encoded(body, compressed, f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"')


async def _encoded(request: web.Request, answer: BaseModel) -> Encoded:
    """Return an answer in bytes; a large one is compressed off the loop, where the server has a door for that."""
    body = to_json(answer)
    offload = request.app.get(OFFLOAD)
    if offload is None or len(body) < _LARGE:
        return pack(body)
    return await offload.run(lambda: pack(body), deadline_seconds=_PACK_SECONDS, what="compression")


def to_json(answer: BaseModel) -> bytes:
    """Return an answer as JSON."""
    return answer.model_dump_json().encode()


def _response(request: web.Request, told: Encoded, status: int) -> web.Response:
    headers = {"Cache-Control": "private, no-cache", "Vary": "Accept-Encoding"}
    if request.method in ("GET", "HEAD"):
        headers["ETag"] = told.tag
        if told.tag.removeprefix("W/") in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
    body = told.body
    if told.compressed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = told.compressed
    return web.Response(status=status, body=body, content_type="application/json", charset="utf-8", headers=headers)


def _takes_many(model: type[BaseModel], name: str) -> bool:
    field = model.model_fields.get(name)
    return field is not None and get_origin(field.annotation) in (list, tuple)


def _field_errors(error: ValidationError) -> FieldErrors:
    return FieldErrors(
        [
            FieldProblem(
                field=one_line(".".join(map(str, one["loc"]))).strip()[:_MOST_KEY],
                detail=one_line(one["msg"].removeprefix("Value error, ")),
            )
            for one in error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_ERRORS]
        ]
    )
