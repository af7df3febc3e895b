"""SIGKILL of the daemon and of the child that trains, at any moment of retraining, accepting, promotion and rollback.

The daemon is a process of its own with its real child, five ticks a second, on a history that was prepared. Eight
kills; two hundred with PRESAGED_TEST_SCALE=25. A seed that failed is repeated with PRESAGED_TEST_SEED.
"""

import contextlib
import json
import random
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from lived import lived

from detectors.registry import Registry, State, load

FAST = str(Path(__file__).parents[1] / "fast_daemon.py")
TEXT = '[anomaly]\nnetwork_after_samples = 200\nlearning_days = 0\n[compute]\nbackend = "numpy"\n'
KILLS = 8
ROWS, SIGNALS = 300, 20
ACTS = ("train", "train", "accept", "accept", "promote", "promote", "rollback", "rollback")


class Life:
    """One daemon after the other on the same state folder, and what must hold whenever one was killed."""

    def __init__(self, daemon, seed):
        self.daemon = daemon
        self.random = random.Random(seed)
        self.models = Registry(daemon.state / "models")
        self.counts = Counter()
        self.soon = 0.04  # seconds within which an order is carried out on this machine, as busy as it is

    def settle_in(self):
        """Live through what is killed later, three trainings and a promotion, and leave one model in each role."""
        self.daemon.start()
        first = self.daemon.wait(lambda said: said["anomaly"] and said["anomaly"]["model"], 60)["anomaly"]["model"]
        for _ in range(2):
            known = names(self.models)
            number = self.order("train")["id"]
            assert self.over(number)["outcome"] == "shadow"
            (name,) = names(self.models) - known
            if self.serves == first:
                began = time.monotonic()
                self.order(f"models/{name}/promote")
                self.soon = 1.5 * (time.monotonic() - began)
        assert {one.state for one in self.models.lineage()} == {State.CHAMPION, State.PREDECESSOR, State.SHADOW}

    def over(self, number):
        """Wait until a training is over; returns what is told of it."""
        path = f"/api/v1/neural/train/{number}"

        def ended():
            time.sleep(0.02)  # who asks faster is told to wait
            said = json.loads(self.daemon.get(path))
            return said["over"] and said

        return self.wait(ended)

    def strike(self, act, sent):
        """Kill within the order that was sent: at any time of it, or just after its first trace in the files."""
        if self.random.random() < 0.5:
            time.sleep(self.random.uniform(0.0, self.soon))
        else:
            before = self.traces()
            while sent.is_alive() and self.traces() == before:
                time.sleep(0.0005)
            time.sleep(self.random.uniform(0.0, 0.2 * self.soon))
        self.kill(act)

    def traces(self):
        """Tell when the folder of the models, and the two files in it, were changed last."""
        folder = self.models.incoming.parent / "anomaly"
        return [path.stat().st_mtime_ns for path in (folder, folder / "roles.json", folder / "champion")]

    @property
    def serves(self):
        """The champion as the files have it; it is whole, the only one, and all that is beside it is whole too."""
        lineage = self.models.lineage()
        assert not [one.problem for one in lineage if one.problem]
        held = [one.name for one in lineage if one.state is State.CHAMPION]
        assert len(held) == 1, [(one.name, one.state) for one in lineage]
        load(self.models.folder(held[0]))
        return held[0]

    def start(self):
        """Start, and see that the champion scores and is the only one."""
        before = self.serves
        self.daemon.start()
        seen = []  # for the report of a failure

        def scores(said):
            seen[:] = [(said["seq"], said["job"], said["anomaly"])]
            return said["anomaly"] and said["anomaly"]["raw_score"] is not None

        said = self.daemon.wait(scores, 60)
        assert said["anomaly"]["model"] == before
        listed = json.loads(self.daemon.get("/api/v1/neural/models"))["models"]
        assert [one["id"] for one in listed if one["state"] == "champion"] == [before]

    def order(self, path, method="POST"):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.daemon.port}/api/v1/neural/{path}",
            method=method,
            headers={"Authorization": f"Bearer {(self.daemon.state / 'token').read_text().strip()}"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def send(self, path):
        """Order without waiting for the answer, which may never come."""

        def sending():
            with contextlib.suppress(OSError, ValueError):
                self.order(path)

        thread = threading.Thread(target=sending)
        thread.start()
        return thread

    def child(self):
        for one in psutil.Process(self.daemon.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if "daemon.worker" in one.cmdline():
                    return one
        return None

    def kill(self, act, victim="daemon"):
        self.counts[f"{act}: {victim}"] += 1
        if victim == "child":
            with contextlib.suppress(AttributeError, psutil.NoSuchProcess):  # it has just come to its end
                self.child().kill()
            return
        self.daemon.process.kill()
        self.daemon.process.wait()

    def forget(self):
        """Let the next training be a whole one: what the champion knows of this host is gone."""
        for kept in ("memory", "elastic"):
            (self.models.folder(self.serves) / kept / "manifest.json").unlink(missing_ok=True)

    def wait(self, condition, seconds=30.0):
        give_up = time.monotonic() + seconds
        while not (found := condition()):
            assert time.monotonic() < give_up, self.daemon.words()
            time.sleep(0.001)
        return found

    def turn(self, act):
        """Give one order, kill within it, and see that exactly one whole champion is left, and serves."""
        before, allowed, known = self.serves, {self.serves}, names(self.models)
        if act in ("train", "accept"):
            self.train(act)
        else:
            others = [one for one in self.models.lineage() if one.name != before]
            if act == "promote" and others:
                name = self.random.choice(others).name
                allowed.add(name)
                sent = self.send(f"models/{name}/promote")
            else:
                allowed |= {one.name for one in others if one.state is State.PREDECESSOR}
                sent = self.send("rollback")
            self.strike(act, sent)
            sent.join()
        assert self.serves in allowed, act
        self.counts["another serves"] += self.serves != before
        self.counts["accepted"] += bool(names(self.models) - known)
        if self.daemon.process.poll() is not None:
            self.start()

    def train(self, act):
        if self.random.random() < 0.7:
            self.forget()
        number = self.order("train")["id"]
        self.wait(self.child)
        victim = self.random.choice(("daemon", "child")) if act == "train" else "daemon"
        if act == "train":
            time.sleep(self.random.uniform(0.0, 2.5))
        else:  # from where the child has written its result on
            incoming = self.daemon.state / "models" / "incoming"
            known = {path.name for path in self.models.versions()}
            self.wait(lambda: any(p.name.isdecimal() for p in incoming.iterdir()) or known != names(self.models))
            time.sleep(self.random.uniform(0.0, self.soon))
        self.kill(act, victim)
        if victim == "child":
            said = self.over(number)
            self.counts[f"train: {said['outcome']}"] += 1
            seq = self.daemon.status()["seq"]
            self.daemon.wait(lambda status: status["seq"] > seq + 1)


def names(models):
    return {path.name for path in models.versions()}


@pytest.mark.soak
@pytest.mark.timeout(3600)  # half an hour for all 200 on a machine that does other things, too
def test_kill_9_of_daemon_or_child_leaves_one_champion_that_serves(daemons, quiet_host, tmp_path, seed, scale):
    daemon = daemons(program=(FAST, "--collector", "quiet"), text=TEXT)
    lived(daemon.state, 0.5 + 0.02 * np.random.default_rng(seed).normal(size=(ROWS, SIGNALS)).astype(np.float32))
    life = Life(daemon, seed)
    for _ in range(max(1, scale // 5)):  # the first training: before it there is none
        daemon.start()
        life.wait(lambda: daemon.process.poll() is None and life.child())
        time.sleep(life.random.uniform(0.0, 1.0))
        life.kill("first")
    life.settle_in()
    acts = list(ACTS) * scale
    life.random.shuffle(acts)
    for act in acts[: KILLS * scale - life.counts["first: daemon"]]:
        life.turn(act)
    assert daemon.end()[0] == 0
    assert not any(line["event"] in {"model_refused", "history_set_aside"} for line in daemon.lines())
    kills = sum(count for what, count in life.counts.items() if what.endswith((": daemon", ": child")))
    said = {"test": "kill -9", "kills": kills, "seed": seed, "champions": 1, **dict(sorted(life.counts.items()))}
    print(json.dumps(said))
    assert kills == KILLS * scale
    assert scale == 1 or (life.counts["another serves"] and life.counts["accepted"])
