"""A host with two models, and its routes on a real listener."""

import asyncio

import aiohttp
import pytest
from aiohttp import web
from problem import sentence

from daemon.config import Anomaly, Compute, Config
from daemon.models.by_hand import ByHand
from daemon.models.foretelling import Foretelling
from daemon.models.question_routes import QuestionRoutes
from daemon.models.routes import NeuralRoutes
from detectors import capacity, failure
from detectors.registry import save

CONFIG = Config(anomaly=Anomaly(network_after_samples=9999, learning_days=0), compute=Compute(backend="numpy"))


@pytest.fixture
async def two_models(hosts, quiet_collector):
    """A host whose models 100 and 200 have served; 200 does."""
    host = await hosts(quiet_collector(4), config=CONFIG)
    await host.take(70)
    model = host.watch.lesson(host.registry)()
    for number in (100, 200):
        manifest = {
            "name": f"{number:012d}", "number": number, "trained_ms": 5000, "interval_seconds": 30.0, "samples": 70,
            "first_seq": 1, "last_seq": 70, "trigger": "hand", "first_ms": 1000, "last_ms": 2000,
            "exclusions": {"alarmed": 7}, "metrics": {"recent": 0.25},
        }  # fmt: skip
        save(host.models.incoming, model, manifest)
        await host.learning.promotion.receive(f"{number:012d}")
    await host.learning.promotion.promote(f"{200:012d}", "better")
    return host


def foretelling(host):
    """Answer from the networks that are shipped."""

    async def forecasts():
        return capacity.load_forecaster()

    async def risks():
        return failure.load_forecaster()

    return Foretelling(forecasts, risks, host.offload, host.interval)


@pytest.fixture
async def ask(two_models):
    """Ask the routes; the answer is the status and what the model reads, or the text."""
    learning = two_models.learning

    async def never(_say):
        await asyncio.Event().wait()

    by_hand = ByHand({"capacity": never}, learning.retraining.trainings, two_models.clock)
    tables = (
        NeuralRoutes(learning, by_hand).table() + QuestionRoutes(learning, foretelling(two_models), lambda: 7).table()
    )
    app = web.Application()
    app.add_routes([one.route() for one in tables])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:

        async def asking(method, path, model=None, **more):
            async with session.request(method, f"/api/v1/neural/{path}", **more) as answer:
                text = sentence(answer.status, answer.headers, await answer.text())
                return answer.status, model.model_validate_json(text) if model and answer.status < 300 else text

        yield asking
    await runner.cleanup()
