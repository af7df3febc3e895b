"""The document of the API: OpenAPI 3.1, made of the operations that the server serves and of nothing else.

Enters: the operations. Leaves: one JSON document, for tools and for people. What an operation takes and answers stands
in its models, so the document cannot say anything else than the daemon does.
"""

import json
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from daemon.web.access import CSRF_HEADER, MAX_BODY
from daemon.web.forecast_answers import ProblemAnswer
from daemon.web.operations import Encoded, Operation, pack
from daemon.web.problems import KIND

PATH = "/api/v1/openapi.json"

PATH_PARAMETERS: Mapping[str, str] = {
    "id": "The id, or its last four letters or more; `latest` is the alert that fired last.",
    "name": "The name; of a model, its last digits are enough.",
    "number": "The id of a training.",
    "other": "The name of the model beside it; its last digits are enough.",
}

_JSON = "application/json"
_PAGE = "text/html"
_REF = "#/components/schemas/{model}"
_ABOUT = (
    "What presaged knows of its host, and what an operator may order. Readings on loopback need nothing; beyond it, "
    "and for whatever changes something, the bearer token is wanted that lies in the file `token` of the state folder, "
    f"or a session with its {CSRF_HEADER}. Listings come in pages: ask again with `cursor` until `next` is null. "
    "Whatever goes wrong is told as application/problem+json (RFC 9457)."
)
# What each status says where an operation has no words of its own.
_SAID: Mapping[int, str] = {
    304: "Nothing has changed since the answer with this ETag.",
    400: "The query or the body is not as it should be; `errors` names the fields.",
    401: "Neither the bearer token nor a session was shown.",
    403: "A page of another origin, a session without its CSRF token, or a link that is not genuine.",
    404: "Nothing has this name.",
    405: "This is not done here; `Allow` says what is.",
    408: "The body did not come in time.",
    409: "It is there, and as things stand it cannot be done.",
    413: f"The body is larger than {MAX_BODY} bytes.",
    415: "The body is not JSON.",
    421: "The Host header is not a name of this server.",
    429: "Too many were asked without token or session; `Retry-After` says when to ask again.",
    503: "The store, or the door to it, does not answer; try again.",
}
_ALWAYS = (400, 401, 403, 421, 429)
_PART = re.compile(r"\{(\w+)\}")

Json = dict[str, object]


class Document(BaseModel):
    """An OpenAPI document: see the specification of its version."""

    model_config = ConfigDict(extra="allow")

    openapi: str
    info: dict[str, object]
    paths: dict[str, object]
    components: dict[str, object]


def document(operations: Sequence[Operation], version: str) -> Encoded:
    """Return the document in bytes; it takes a tenth of a second and is made once, in a thread."""
    keys: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ProblemAnswer, "validation"): None}
    for one in operations:
        if not isinstance(one.answer, str):
            keys[one.answer, "serialization"] = None
        for told_inside in one.parts:
            keys[told_inside, "serialization"] = None
        for asked in (one.body, one.query):
            if asked is not None:
                keys[asked, "validation"] = None
    schemas, definitions = models_json_schema(list(keys), by_alias=True, ref_template=_REF)
    known: Mapping[str, Json] = definitions.get("$defs", {})
    paths: dict[str, Json] = {}
    for one in operations:
        query = None if one.query is None else known[_name(schemas[one.query, "validation"])]
        body = None if one.body is None else schemas[one.body, "validation"]
        answer = None if isinstance(one.answer, str) else schemas[one.answer, "serialization"]
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(
            one, query, body, answer, schemas[ProblemAnswer, "validation"]
        )
    asked_only = {_name(schemas[one.query, "validation"]) for one in operations if one.query is not None}
    told: Json = {
        "openapi": "3.1.0",
        "info": {"title": "presaged", "version": version, "description": _ABOUT, "license": _LICENSE},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(_tag(one) for one in operations)],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in known.items() if name not in asked_only},
            "securitySchemes": _SECURITY,
        },
    }
    return pack(json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode())


_LICENSE = {"name": "Apache-2.0", "identifier": "Apache-2.0"}
_SECURITY: Json = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "session": {
        "type": "apiKey", "in": "cookie", "name": "presaged_session",
        "description": "The name ends with the port that the browser asked, as in presaged_session_9736.",
    },
    "csrf": {"type": "apiKey", "in": "header", "name": CSRF_HEADER},
}  # fmt: skip


def _operation(one: Operation, query: Json | None, body: Json | None, answer: Json | None, wrong: Json) -> Json:
    told: Json = {
        "operationId": one.id,
        "summary": one.summary,
        "tags": [_tag(one)],
        "parameters": [*_path_parameters(one.path), *_query_parameters(query)],
        "responses": _responses(one, answer, wrong),
        "security": _security(one),
    }
    if body is not None:
        told["requestBody"] = {"required": not one.body_optional, "content": {_JSON: {"schema": body}}}
    return told


def _security(one: Operation) -> list[Json]:
    either: list[Json] = [{"bearer": []}, {"session": []}]
    if one.method == "GET":
        return [{}, *either]  # on loopback nothing is wanted
    return [{"bearer": []}, {"session": [], "csrf": []}]


def _path_parameters(path: str) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": PATH_PARAMETERS[name],
            "schema": {"type": "string", "minLength": 1},
        }
        for name in _PART.findall(path)
    ]


def _query_parameters(query: Json | None) -> list[Json]:
    if query is None:
        return []
    properties, required = query["properties"], query.get("required", ())
    parameters = []
    for name, told in properties.items() if isinstance(properties, dict) else ():
        schema = {key: value for key, value in told.items() if key not in ("title", "description")}
        if schema.get("default", ...) is None:  # it may be absent; nobody writes null there
            del schema["default"]
            schema["anyOf"] = [one for one in schema["anyOf"] if one != {"type": "null"}]
        one: Json = {"name": name, "in": "query", "required": name in (required or ()), "schema": schema}  # type: ignore[operator]
        if "description" in told:
            one["description"] = told["description"]
        parameters.append(one)
    return parameters


def _responses(one: Operation, answer: Json | None, wrong: Json) -> Json:
    media = one.answer if isinstance(one.answer, str) else _JSON
    schema: Json = {"type": "string"} if answer is None else answer
    content: Json = {media: {"schema": schema}}
    if one.page and media != _PAGE:
        content[_PAGE] = {"schema": {"type": "string"}}
    responses: Json = {str(one.status): {"description": HTTPStatus(one.status).phrase, "content": content}}
    if one.method == "GET" and answer is not None and not one.private:
        responses["304"] = {"description": _SAID[304]}
    also = (408, 413, 415) if one.body is not None or one.page else (413,) if one.method != "GET" else ()
    for status in sorted({*_ALWAYS, *also, *one.errors}):
        told: Json = {KIND: {"schema": wrong}}
        if one.page:
            told[_PAGE] = {"schema": {"type": "string"}}
        responses[str(status)] = {"description": _SAID[status], "content": told}
    return responses


def _tag(one: Operation) -> str:
    """Return the family of an operation: the first word of its path below the version."""
    return one.path.split("/")[3]


def _name(schema: Json) -> str:
    """Return which of the definitions a schema refers to."""
    return str(schema["$ref"]).rpartition("/")[2]
