import asyncio
import base64
import os
import sys
from dataclasses import replace
from email import message_from_bytes
from email.header import decode_header, make_header

import pytest

from alerting.errors import DeliveryError
from alerting.group import What
from alerting.occurrence import State
from alerting.sinks.apprise_child import secrets_of
from alerting.sinks.long_tail import AppriseSink, body
from alerting.sinks.reading import read
from detectors.findings import Contributor, Unit

LINKS = {name: f"https://web1.example.org:9736/{name}?signature=abc" for name in ("ack", "real", "false", "expected")}
SECRETS = ("hunter22", "me-myself", "secret-path-9000", "secret-key-9000")


def url_for(receiver):
    return f"json://me-myself:hunter22@127.0.0.1:{receiver.port}/secret-path-9000?-key=secret-key-9000"


def sink_for(url, **options):
    return AppriseSink("mail", url, **{"timeout_seconds": 30.0, **options})


async def failure_of(sink, notification) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await sink.send(notification)
    for secret in SECRETS:
        assert secret not in str(caught.value)
        assert secret not in repr(caught.value.__context__)
    return caught.value


@pytest.fixture
def page(alert, contributors):
    return alert("FilesystemReadOnly", "/srv", sentence="web1: /srv is mounted read-only", contributors=contributors)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """Put a library of that name in the place of Apprise."""

    def place(text):
        (tmp_path / "apprise.py").write_text(text, encoding="utf-8")
        path = os.pathsep.join((str(tmp_path), *filter(None, (os.environ.get("PYTHONPATH"),))))
        monkeypatch.setenv("PYTHONPATH", path)

    return place


# What is sent


def test_golden_text(page, alert, note, golden):
    golden("apprise", body(read(note((What.BEGAN, page), (What.BEGAN, alert("UnitFailed"))))).split("\n"))


def test_golden_text_with_links(page, note, golden):
    golden("apprise_links", body(read(note((What.BEGAN, page), links=LINKS))).split("\n"))


def test_a_text_stays_readable_whatever_there_is_to_say(page, alert, note):
    many = tuple(Contributor(f"signal{number}", Unit.BYTES, "cpu", "", 1.0, 0.0, 1.0, 9.0) for number in range(200))
    others = [(What.BEGAN, alert("UnitFailed", sentence="x" * 9000)) for _ in range(1000)]
    text = body(read(note((What.BEGAN, replace(page, contributors=many)), *others)))
    assert len(text) < 150_000
    assert "and 980 more" in text
    assert "and 190 more" in text


async def test_a_service_of_apprise_is_given_title_text_and_type(receive, page, note):
    receiver = await receive(receive.status(200))
    over = replace(page, state=State.RESOLVED, resolved_ms=page.started_ms + 60_000)
    sink = sink_for(url_for(receiver))
    await sink.send(note((What.BEGAN, page)))
    await sink.send(note((What.ENDED, over), still_firing=0))
    fired, resolved = receiver.bodies
    assert (fired["title"], fired["type"]) == ("web1: FIRING: FilesystemReadOnly /srv", "failure")
    assert fired["message"].startswith("web1: /srv is mounted read-only")
    assert (resolved["title"], resolved["type"]) == ("web1: RESOLVED: FilesystemReadOnly /srv", "success")


async def test_the_url_is_in_no_argument_and_in_no_environment(receive, note, monkeypatch):
    started = []
    start = asyncio.create_subprocess_exec

    async def watch(*arguments, **options):
        started.append((arguments, options["env"]))
        return await start(*arguments, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watch)
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/presaged.service")
    receiver = await receive(receive.status(200))
    await sink_for(url_for(receiver)).send(note.test())
    ((arguments, environment),) = started
    assert not [secret for secret in SECRETS if secret in f"{arguments} {environment}"]
    assert not {"NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"} & set(environment)


async def test_the_library_is_not_loaded_here(receive, note):
    receiver = await receive(receive.status(200))
    await sink_for(url_for(receiver)).send(note.test())
    assert "apprise" not in sys.modules


# E-mail


class Mailbox:
    """A small SMTP server on loopback; `password` is what it accepts."""

    def __init__(self, password):
        self.expected = base64.b64encode(f"\0me-myself\0{password}".encode()).decode()
        self.letters = []

    async def serve(self, reader, writer):
        async def say(text):
            writer.write(text.encode() + b"\r\n")
            await writer.drain()

        await say("220 mail.example.org ESMTP")
        while command := (await reader.readline()).decode().strip():
            match command.upper().split()[0]:
                case "EHLO" | "HELO":
                    await say("250-mail.example.org\r\n250 AUTH PLAIN")
                case "AUTH" if command.split()[-1] == self.expected:
                    await say("235 welcome")
                case "AUTH":
                    await say(f"535 no: {command}")
                case "DATA":
                    await say("354 go on")
                    self.letters.append(message_from_bytes(await reader.readuntil(b"\r\n.\r\n")))
                    await say("250 taken")
                case "QUIT":
                    await say("221 bye")
                    break
                case _:
                    await say("250 ok")
        writer.close()


@pytest.fixture
async def mailbox():
    servers = []

    async def open_one(password):
        box = Mailbox(password)
        server = await asyncio.start_server(box.serve, "127.0.0.1", 0)
        servers.append(server)
        box.port = server.sockets[0].getsockname()[1]
        box.url = (
            f"mailto://me-myself:hunter22@127.0.0.1:{box.port}/?smtp=127.0.0.1"
            "&from=presaged@example.org&to=ops@example.org&format=text&mode=insecure"
        )
        return box

    yield open_one
    for server in servers:
        server.close()


async def test_an_e_mail_arrives(mailbox, page, note):
    box = await mailbox("hunter22")
    await sink_for(box.url).send(note((What.BEGAN, page)))
    (letter,) = box.letters
    assert str(make_header(decode_header(letter["Subject"]))) == "web1: FIRING: FilesystemReadOnly /srv"
    parts = [part.get_payload(decode=True).decode() for part in letter.walk() if not part.is_multipart()]
    assert any("web1: /srv is mounted read-only" in part for part in parts)
    assert "ops@example.org" in letter["To"]


async def test_a_mail_server_that_refuses_the_password_is_told_without_it(mailbox, page, note):
    box = await mailbox("another")
    failure = await failure_of(sink_for(box.url), note((What.BEGAN, page)))
    assert str(failure).startswith("Apprise could not deliver it")
    assert box.expected not in str(failure)
    assert not failure.permanent
    assert box.letters == []


# What can go wrong


async def test_a_service_that_fails(receive, note):
    receiver = await receive(receive.status(500, "secret-path-9000 hunter22"))
    failure = await failure_of(sink_for(url_for(receiver)), note.test())
    assert str(failure).startswith("Apprise could not deliver it")
    assert not failure.permanent


async def test_a_url_that_apprise_does_not_know(note):
    failure = await failure_of(sink_for("nosuchservice://hunter22@secret-path-9000"), note.test())
    assert "does not understand the url" in str(failure)
    assert failure.permanent


@pytest.mark.parametrize("url", ["", "mailto:me@example.org", "hunter22", "mailto://a\nmailto://b"])
def test_what_is_no_url_at_all(url):
    with pytest.raises(ValueError, match='sink mail: the url must be one line like "mailto://') as caught:
        sink_for(url)
    assert "hunter22" not in str(caught.value)


async def test_without_the_library_there_is_a_sentence(library, note):
    library("raise ImportError('no module')")
    failure = await failure_of(sink_for("json://127.0.0.1/"), note.test())
    assert str(failure) == "the library Apprise is not installed; install it beside presaged"
    assert failure.permanent


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import os; os._exit(3)", "Apprise's process ended with code 3 and no answer"),
        ("print('hunter22'); raise KeyError('hunter22')", "Apprise's process ended with code 1 and no answer"),
        ("def __getattr__(name): raise KeyError('hunter22')", "Apprise could not deliver it: KeyError"),
    ],
)
async def test_a_library_that_breaks_costs_one_try(library, note, text, told):
    library(text)
    failure = await failure_of(sink_for("json://me-myself:hunter22@127.0.0.1/"), note.test())
    assert str(failure) == told
    assert not failure.permanent


async def test_what_the_library_prints_is_no_answer(library, note):
    library('print(\'{"ok": true, "error": ""}\', flush=True)\nraise ImportError')
    assert "not installed" in str(await failure_of(sink_for("json://127.0.0.1/"), note.test()))


@pytest.fixture
def children(monkeypatch):
    """The processes that were started."""
    started = []
    start = asyncio.create_subprocess_exec

    async def watch(*arguments, **options):
        started.append(await start(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", watch)
    return started


async def test_a_child_that_hangs_is_ended(library, note, children):
    library("import time; time.sleep(60)")
    failure = await failure_of(sink_for("json://127.0.0.1/", timeout_seconds=1.0), note.test())
    assert str(failure) == "Apprise did not end within 1 s"
    assert children[0].returncode == -9


async def test_a_child_whose_sender_is_cancelled_is_ended(library, note, children, until):
    library("import time; time.sleep(60)")
    sending = asyncio.create_task(sink_for("json://127.0.0.1/").send(note.test()))
    await until(lambda: children)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert children[0].returncode == -9


def test_every_piece_of_a_url_counts_as_a_secret():
    pieces = secrets_of("tgram://123456:AAbb-cc%2Fdd@host.example/chat9000/?key=k%20ey-9&x=1")
    assert {"AAbb-cc%2Fdd", "AAbb-cc/dd", "123456", "host.example", "chat9000", "k%20ey-9", "k ey-9"} <= set(pieces)
    assert "1" not in pieces
    assert pieces == sorted(pieces, key=len, reverse=True)
