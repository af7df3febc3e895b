"""The document against the router that it describes: what one has and the other has not is a mistake."""

import json
import re

import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from daemon.app import App
from daemon.config import load
from daemon.preflight import prepare
from daemon.web import openapi
from daemon.web.operations import Operation, PageQuery


@pytest.fixture
async def server(tmp_path, monkeypatch):
    """The server as the daemon puts it together, which does not listen."""
    config = tmp_path / "config.toml"
    config.write_text(f'[storage]\ndirectory = "{tmp_path / "state"}"\n[http]\nlisten = "127.0.0.1:0"\n')
    found = []

    async def serve(app):
        found.append(app._server)

    monkeypatch.setattr(App, "_serve", serve)
    loaded = load(config)
    prepared = prepare(loaded)
    app = App(loaded, prepared)
    await app.run()
    yield found[0]
    prepared.listener.close()
    app._lock_file.close()


@pytest.fixture
def document(server):
    return json.loads(openapi.document(server.operations, "1.2.3").body)


async def test_the_document_has_what_the_router_has(server, document):
    routed = {
        (route.method, route.resource.canonical)
        for route in server._runner.app.router.routes()
        if route.resource.canonical.startswith("/api/") and route.method != "HEAD"
    }
    told = {(method.upper(), path) for path, one in document["paths"].items() for method in one}
    assert told == routed
    assert len(told) > 30


async def test_every_operation_says_what_it_takes_and_answers(server, document):
    ids = []
    for path, methods in document["paths"].items():
        for method, one in methods.items():
            ids.append(one["operationId"])
            assert one["summary"].endswith("."), one
            assert {p["name"] for p in one["parameters"] if p["in"] == "path"} == set(re.findall(r"\{(\w+)\}", path))
            assert any(status.startswith("2") for status in one["responses"])
            assert {"400", "401", "403", "421", "429"} <= set(one["responses"])
            assert ({} in one["security"]) == (method == "get")
            for status, told in one["responses"].items():
                assert told["description"]
                if status[0] in "45":
                    assert "application/problem+json" in told["content"]
            if method != "get":
                assert {"bearer": []} in one["security"]
                assert {"session": [], "csrf": []} in one["security"]
    assert len(ids) == len(set(ids))


async def test_every_listing_comes_in_pages(document):
    for path, methods in document["paths"].items():
        one = methods.get("get", {})
        if not one.get("operationId", "").startswith("list"):
            continue
        (answer,) = one["responses"]["200"]["content"].values()
        if "$ref" not in answer["schema"]:
            continue
        schema = document["components"]["schemas"][answer["schema"]["$ref"].rpartition("/")[2]]
        assert {"limit", "cursor"} <= {parameter["name"] for parameter in one["parameters"]}, path
        assert "next" in schema["properties"], path


async def test_every_schema_is_one(document):
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


async def test_every_reference_leads_somewhere(document):
    text = json.dumps(document)
    names = set(re.findall(r"#/components/schemas/(\w+)", text))
    assert names <= set(document["components"]["schemas"])
    assert not re.search(r"https?://", text)


def test_a_part_of_a_path_that_nobody_described_is_a_mistake():
    async def tell(_request):
        return web.Response()

    one = Operation("GET", "/api/v1/x/{what}", "getX", "X.", tell, answer="text/plain", query=PageQuery)
    with pytest.raises(KeyError):
        openapi.document([one], "1")
