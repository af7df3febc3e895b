"""What went wrong with a request, as RFC 9457 has it: application/problem+json for all of the API.

Enters: an error, or a status with a sentence. Leaves: the answer. What lies outside of the API, which people and
probes read, has the same sentence as plain text. It never tells more than the sentence.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

from aiohttp import web

from alerting.render import one_line
from daemon.errors import Conflict, DeskError, NotFound, PresagedError
from daemon.web.forecast_answers import FieldProblem, ProblemAnswer

API = "/api/v1/"
KIND = "application/problem+json"


def is_api(request: web.Request) -> bool:
    """Tell whether a request is for the API, and its refusal for a program."""
    return f"{request.path}/".startswith(API)


def status_of(error: PresagedError) -> int:
    """Return the HTTP status that says what kind of error it is."""
    match error:
        case NotFound():
            return 404
        case Conflict():
            return 409
        case DeskError():
            return 400
        case _:
            return 503  # the store, or the door to it


def problem(
    status: int, detail: str, *, errors: Sequence[FieldProblem] = (), headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return the answer of the API; `errors` names the fields that are wrong."""
    told = ProblemAnswer(title=HTTPStatus(status).phrase, status=status, detail=_text(detail), errors=tuple(errors))
    return web.Response(
        status=status,
        text=told.model_dump_json(exclude=None if errors else {"errors"}),
        content_type=KIND,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def refusal(
    request: web.Request, status: int, detail: str, *, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return the answer to a request that goes no further, in the form of the place that it asked for."""
    if is_api(request):
        return problem(status, detail, headers=headers)
    return web.Response(status=status, text=f"{_text(detail)}\n", headers=headers)


def of_http(error: web.HTTPException) -> web.Response:
    """Return the answer for what aiohttp itself refuses."""
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return problem(error.status, "the body is too large")
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return problem(error.status, error.text or error.reason, headers=headers)


def _text(detail: str) -> str:
    """Return the sentence in one line: what was asked for may hold anything."""
    return one_line(detail).strip()
