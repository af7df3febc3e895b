import asyncio
import gzip
import re
import sys

import aiohttp
import pytest
from aiohttp import web

from daemon.dashboard.charts import ChartLibrary
from daemon.dashboard.routes import DashboardRoutes
from daemon.offload import Offload

CHARTS = b"var charts = 1;\n" * 5_000


class Running:
    def __init__(self, port, session):
        self.base, self.session = f"http://127.0.0.1:{port}", session

    async def get(self, path, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.get(self.base + path, headers=headers) as answer:
            return answer.status, answer.headers, await answer.read()

    async def addresses(self):
        _, _, page = await self.get("/", Accept_Encoding="identity")
        return re.findall(r'(?:href|src|content)="(/dashboard/[^"]+)"', page.decode())


@pytest.fixture
async def running(tmp_path):
    source = tmp_path / "plotly.min.js"
    source.write_bytes(CHARTS)
    offload = Offload()
    routes = DashboardRoutes(library=ChartLibrary(tmp_path / "cache", source), offload=offload, month=None, cost=None)
    app = web.Application()
    app.add_routes(routes.pages())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        one = Running(runner.addresses[0][1], session)
        one.source = source
        yield one
    await runner.cleanup()
    offload.close()


async def test_the_page_allows_nothing_but_its_own_files(running):
    status, headers, _ = await running.get("/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"


async def test_the_page_is_asked_for_each_time_and_its_files_once(running):
    _, headers, _ = await running.get("/")
    assert headers["Cache-Control"] == "no-cache"
    status, again, body = await running.get("/", If_None_Match=headers["ETag"])
    assert (status, body, again["ETag"]) == (304, b"", headers["ETag"])
    found = await running.addresses()
    assert len(found) > 10
    for path in found:
        status, headers, body = await running.get(path, Accept_Encoding="gzip")
        assert status == 200, path
        assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(body), path


async def test_who_takes_no_gzip_gets_it_plain(running):
    status, headers, body = await running.get("/", Accept_Encoding="identity")
    assert status == 200
    assert "Content-Encoding" not in headers
    assert body.startswith(b"<!DOCTYPE html>")


async def test_the_library_is_served_whole_and_never_held(running):
    (path,) = [one for one in await running.addresses() if "/charts-" in one]
    answers = await asyncio.gather(*(running.get(path, Accept_Encoding="gzip") for _ in range(4)))
    assert {gzip.decompress(body) for _, _, body in answers} == {CHARTS}
    assert answers[0][1]["Content-Type"] == "text/javascript; charset=utf-8"
    assert "plotly" not in sys.modules


async def test_a_library_that_went_is_one_line(running):
    (path,) = [one for one in await running.addresses() if "/charts-" in one]
    running.source.unlink()
    status, _, body = await running.get(path)
    assert status == 503
    assert body.decode().startswith("the chart library cannot be read: ")


@pytest.mark.parametrize(
    "path",
    [
        "/dashboard/0123456789abcdef/main.js",
        "/dashboard/charts-0.js",
        "/dashboard/x/../../secret",
        "/dashboard/x/%2e%2e",
    ],
)
async def test_what_is_not_of_this_version_is_not_there(running, path):
    assert (await running.get(path))[0] == 404


async def test_the_page_itself_is_no_file_that_is_kept(running):
    main = next(one for one in await running.addresses() if one.endswith("main.js"))
    assert (await running.get(main.replace("main.js", "index.html")))[0] == 404
    assert (await running.get("/favicon.ico"))[1]["Content-Type"] == "image/svg+xml; charset=utf-8"
