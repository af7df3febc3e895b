import asyncio
import base64
import hmac
import shutil
import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from alerting.errors import DeliveryError
from alerting.group import What
from alerting.sinks.base import Notification
from alerting.sinks.webhook import WebhookSink, signing_keys

NOW = 1_772_344_800.0
NOTE = Notification("01KJM6DS000000000000000000", '{"version": 1, "host": "wéb"}')


def sink_for(url, **options):
    return WebhookSink(
        "ops", url, user_agent="presaged/0.1.0", wall_seconds=lambda: NOW, **{"timeout_seconds": 2.0, **options}
    )


async def failure_of(sink) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await sink.send(NOTE)
    return caught.value


async def test_what_is_posted(receive):
    receiver = await receive(receive.status(204))
    await sink_for(receiver.url, bearer_token="s3cret-token").send(NOTE)
    assert receiver.bodies == [{"version": 1, "host": "wéb"}]
    headers = {name.lower(): value for name, value in receiver.headers[0].items()}
    assert headers["content-type"] == "application/json"
    assert headers["user-agent"] == "presaged/0.1.0"
    assert headers["webhook-id"] == NOTE.id
    assert headers["webhook-timestamp"] == "1772344800"
    assert headers["authorization"] == "Bearer s3cret-token"


async def test_a_user_in_the_url_becomes_basic_authentication(receive):
    receiver = await receive(receive.status(200))
    await sink_for(f"http://user:pass@127.0.0.1:{receiver.port}/").send(NOTE)
    assert receiver.headers[0]["Authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    ("code", "permanent"),
    [(400, True), (401, True), (404, True), (410, True), (408, False), (425, False), (429, False), (500, False)],
)
async def test_what_is_refused_for_good(receive, code, permanent):
    receiver = await receive(receive.status(code, "no such\n\x1b[31m thing"))
    failure = await failure_of(sink_for(receiver.url))
    assert failure.permanent is permanent
    assert str(failure) == f"HTTP {code}: no such [31m thing"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("17", 17.0),
        (format_datetime(datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW, UTC) - timedelta(seconds=90), usegmt=True), 0.0),
        ("soon", None),
        ("-5", None),
        ("9" * 400, None),
    ],
)
async def test_retry_after(receive, header, seconds):
    receiver = await receive(receive.status(429, Retry_After=header))
    failure = await failure_of(sink_for(receiver.url))
    assert failure.retry_after_seconds == seconds
    assert not failure.permanent


async def test_a_redirect_is_not_followed(receive):
    target = await receive(receive.status(200))
    receiver = await receive(receive.status(302, Location=target.url))
    failure = await failure_of(sink_for(receiver.url))
    assert str(failure) == "HTTP 302, a redirect, which is not followed"
    assert not failure.permanent
    assert target.bodies == []


async def test_a_receiver_that_hangs(receive):
    receiver = await receive(receive.hang)
    failure = await failure_of(sink_for(receiver.url, timeout_seconds=0.1))
    assert str(failure) == "no answer within 0.1 s"


async def test_an_answer_that_breaks_off_is_no_answer(receive):
    receiver = await receive(receive.close_mid_body)
    failure = await failure_of(sink_for(receiver.url))
    assert str(failure).startswith("connection failed")
    assert not failure.permanent


async def test_an_endless_answer_is_read_to_the_bound_only(receive):
    receiver = await receive(receive.endless)
    async with asyncio.timeout(5):
        await sink_for(receiver.url, timeout_seconds=4.0).send(NOTE)


async def test_connection_refused():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    failure = await failure_of(sink_for(f"http://127.0.0.1:{port}/secret-path-9000?key=secret-key-9000"))
    assert "secret" not in str(failure)
    assert "refused" in str(failure).lower()


async def test_what_is_no_http_at_all_is_a_failure(receive):
    async def speak(reader, writer):
        writer.write(b"hello\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        failure = await failure_of(sink_for(f"http://user:hunter22@127.0.0.1:{port}/secret-path-9000"))
    assert "secret" not in str(failure)
    assert "hunter22" not in str(failure)


async def test_no_secret_of_the_url_is_quoted_from_an_answer(receive):
    echo = "Cannot POST /services/T0AAAAAAAA?key=k-123456789, token s3cret-token, password hunter2"
    receiver = await receive(receive.status(404, echo))
    with_token = sink_for(
        f"http://127.0.0.1:{receiver.port}/services/T0AAAAAAAA?key=k-123456789", bearer_token="s3cret-token"
    )
    text = str(await failure_of(with_token))
    assert text.startswith("HTTP 404: Cannot POST")
    for secret in ("T0AAAAAAAA", "k-123456789", "s3cret-token"):
        assert secret not in text
    with_password = sink_for(f"http://me:hunter2@127.0.0.1:{receiver.port}/x")
    assert "hunter2" not in str(await failure_of(with_password))


async def test_no_half_of_a_secret_is_quoted_where_an_answer_is_cut(receive):
    receiver = await receive(receive.status(404, "x" * 190 + " secret-path-9000"))
    text = str(await failure_of(sink_for(f"{receiver.url}/secret-path-9000")))
    assert "secret" not in text


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/", "127.0.0.1/hook", "http:///hook", "", "http://h:hunter2/", "http://[::1/", "http://h:0/"],
)
def test_an_address_that_cannot_work(url):
    with pytest.raises(ValueError, match="sink ops: the url must begin") as caught:
        sink_for(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1/a\nhttp://127.0.0.1/b", "http://127.0.0.1/a b"])
def test_a_file_of_two_addresses_is_none(url):
    with pytest.raises(ValueError, match="sink ops: the url must be one line"):
        sink_for(url)


@pytest.mark.parametrize("token", ["s3cret\ntoken", "s3crét"])
def test_a_token_that_no_header_can_carry(token):
    with pytest.raises(ValueError, match="one line of plain letters") as caught:
        sink_for("http://127.0.0.1/", bearer_token=token)
    assert token not in str(caught.value)


def test_a_user_and_a_token_are_one_too_many():
    with pytest.raises(ValueError, match="keep one of them") as caught:
        sink_for("http://me:hunter2@127.0.0.1/", bearer_token="s3cret-token")
    assert "hunter2" not in str(caught.value)


async def test_golden_document(receive, note, alert, golden):
    receiver = await receive(receive.status(204))
    first = alert("FilesystemReadOnly", "/srv", sentence="web1: /srv is mounted read-only")
    await sink_for(receiver.url).send(note((What.BEGAN, first), (What.BEGAN, alert("UnitFailed"))))
    golden("webhook", receiver.bodies[0])


# Signatures


async def test_the_signature_is_that_of_standard_webhooks(receive):
    """The example that its authors verify their own libraries with."""
    receiver = await receive(receive.status(204))
    keys = signing_keys("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    sink = WebhookSink(
        "ops", receiver.url, user_agent="presaged/0.1.0", signing_keys=keys, wall_seconds=lambda: 1614265330.9
    )
    await sink.send(Notification("msg_p5jXN8AQM9LWM0D4loKWxJek", '{"test": 2432232314}'))
    headers = {name.lower(): value for name, value in receiver.headers[0].items()}
    assert headers["webhook-timestamp"] == "1614265330"
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


async def test_two_secrets_give_two_signatures_and_either_proves_it(receive):
    receiver = await receive(receive.status(204))
    old, new = "the old secret of sixteen", "whsec_" + base64.b64encode(b"n" * 32).decode()
    await sink_for(receiver.url, signing_keys=signing_keys(f"{new}\n{old}\n")).send(NOTE)
    headers = {name.lower(): value for name, value in receiver.headers[0].items()}
    signed = f"{NOTE.id}.{headers['webhook-timestamp']}.{NOTE.payload}".encode()
    assert headers["webhook-signature"].split(" ") == [
        "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in (b"n" * 32, old.encode())
    ]


async def test_without_a_secret_nothing_is_signed(receive):
    receiver = await receive(receive.status(204))
    await sink_for(receiver.url).send(NOTE)
    assert "webhook-signature" not in {name.lower() for name in receiver.headers[0]}


@pytest.mark.parametrize("text", ["", "\n \n", "one\ntwo\nthree", "whsec_no-base64!", "whsec_"])
def test_a_secret_file_that_cannot_be_used(text):
    with pytest.raises(ValueError, match=r"^(give one secret|what follows whsec_)") as caught:
        signing_keys(text)
    assert "no-base64" not in str(caught.value)


# Certificates


@pytest.fixture
def certificate(tmp_path):
    """A certificate for localhost that signs itself, and its key."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = tmp_path / "cert", tmp_path / "key"
    subprocess.run([*made, *subject, "-out", files[0], "-keyout", files[1]], check=True, capture_output=True)
    return files


@pytest.fixture
async def tls_url(certificate):
    """A receiver behind that certificate; it answers 204."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    yield f"https://localhost:{server.sockets[0].getsockname()[1]}/"
    server.close()


async def test_a_certificate_counts_only_when_the_host_trusts_it(tls_url, certificate, monkeypatch):
    assert str(await failure_of(sink_for(tls_url))) == "the certificate is not valid for this host"
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    await sink_for(tls_url).send(NOTE)
