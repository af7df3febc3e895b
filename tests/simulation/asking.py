"""Operations of the API behind a listener of their own, without a guard before them."""

from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from problem import sentence

from daemon.web.operations import OFFLOAD


@asynccontextmanager
async def asking(operations, offload=None):
    """Yield a function that asks: it returns status, headers, and the text, of a problem its sentence."""
    app = web.Application(client_max_size=65_536)
    if offload is not None:
        app[OFFLOAD] = offload
    app.add_routes([one.route() for one in operations])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with aiohttp.ClientSession(base) as session:

            async def ask(path, method="GET", **more):
                async with session.request(method, path, **more) as answer:
                    return answer.status, answer.headers, sentence(answer.status, answer.headers, await answer.text())

            ask.session = session
            yield ask
    finally:
        await runner.cleanup()
