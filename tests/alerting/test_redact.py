import base64
import ipaddress
import string
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from alerting.redact import redacted, redactor

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
KEY_BLOCK = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIB\nAAKCAQEA\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("cloned https://me:hunter2@git.example.org/a.git", "cloned https://<token>@git.example.org/a.git"),
        ("postgres://app:p@ss:word@db/app", "postgres://<token>@db/app"),
        ("password=hunter2", "password=<token>"),
        ("set DB_PASSWORD: hunter2 and restarted", "set DB_PASSWORD: <token> and restarted"),
        ("mysql --password hunter2 -u root", "mysql --password <token> -u root"),
        ("mysql --password=hunter2 -u root", "mysql --password=<token> -u root"),
        ('{"api_key": "abc def", "user": "bob"}', '{"api_key": <token>, "user": "bob"}'),
        ("password: 'two words' changed", "password: <token> changed"),
        ("password: token: hunter2 changed", "password: <token> changed"),
        ("secret = hunter2", "secret = <token>"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: <token>"),
        ('curl -H "Authorization: Basic dXNlcjpwYXNz" https://x', 'curl -H "Authorization: <token> https://x'),
        ("sent Bearer abcdefgh12", "sent Bearer <token>"),
        ("Basic dXNlcjpwYXNz was refused", "Basic <token> was refused"),
        (f"token {JWT} expired", "token <token> expired"),
        ("key AKIAIOSFODNN7EXAMPLE used", "key <token> used"),
        (f"wrote {KEY_BLOCK} to a file", "wrote <token> to a file"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEpAIB cut off", "<token>"),
        ("sum d41d8cd98f00b204e9800998ecf8427e", "sum <token>"),
        ("with ghp_16C7e42F292c6912E7710c838347Ae178B4a", "with <token>"),
        ("mail to ops@example.org failed", "mail to <e-mail> failed"),
        ("from 10.0.0.7:5432 refused", "from <address>:5432 refused"),
        ("see.10.0.0.7.", "see.<address>."),
        ("to [2001:db8::7]:443 and fe80::1%eth0", "to [<address>]:443 and <address>%eth0"),
        ("from:fe80::1: refused", "from:<address>: refused"),
        ("mapped ::ffff:10.0.0.7 too", "mapped <address> too"),
    ],
)
def test_what_is_masked(text, safe):
    assert redacted(text) == safe


@pytest.mark.parametrize(
    "text",
    [
        "nginx.service restarted",
        "postgresql@15-main.service and getty@tty1.service",
        "upgraded linux-image-6.1.0-18-amd64 6.1.76-1 to 6.1.85-1",
        "kernel 6.8.0-45-generic booted at 12:30:45",
        "/var/lib/postgresql/15/main is full",
        "/dev/disk/by-uuid/550e8400-e29b-41d4-a716-446655440000",
        "std::vector grew; aa:bb:cc:dd:ee:ff left",
        "the token bucket was enlarged",
        "basic checks passed; a bearer of news",
        "deploy 2026-03-01T06:00:00Z of release 2.41",
        "",
    ],
)
def test_what_is_no_secret_stays_readable(text):
    assert redacted(text) == text


def test_the_three_ways():
    assert redactor("full")("password=x") == "password=x"
    assert redactor("none")("password=x") == "(not shown)"
    assert redactor("redacted")("password=x") == "password=<token>"
    with pytest.raises(ValueError, match="log_text must be one of"):
        redactor("some")


# Whatever stands around it

WORDS = ["deployed", "release", "2.41", "at", "12:30:45", "nginx.service", "to", "/srv/app", "--force", "x=1", ";", ","]
AROUND = st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join)
VALUE = st.text(string.ascii_letters + string.digits + "!$%^*()_+-.,;:~", min_size=8, max_size=40)
PLAIN = st.text(string.ascii_letters + string.digits + "-_.~!$", min_size=8, max_size=40)
KEYED = [
    "password={}",
    "password: {}",
    "password:\t{}",
    "password=             {}",
    "Passwd = {}",
    "DB_PASSWORD={}",
    "token={}",
    "token: password: {}",
    "api_key: {}",
    "api-key={}",
    "secret: {}",
    "client_secret={}",
    "credentials={}",
    "authorization: {}",
    "Authorization: Bearer {}",
    "--password {}",
    "--api-key {}",
    "--token={}",
    '{{"password":"{}"}}',
    "'secret': '{}'",
    "Bearer {}",
]
URLS = ["https://user:{}@db.example.org/x", "amqp://{}@mq/vhost", "redis://:{}@cache:6379/0"]


def planted(forms, values):
    """Pairs of a text and the secret in it."""
    return st.builds(lambda form, value: (form.format(value), value), st.sampled_from(forms), values)


MIXED = st.builds(
    lambda rest, place: rest[:place] + "aB7" + rest[place:],
    st.text(string.ascii_letters + string.digits, min_size=21, max_size=60),
    st.integers(0, 21),
)
BASE64 = st.binary(min_size=40, max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode().rstrip("="))
PLANTED = st.one_of(
    planted(KEYED, VALUE),
    planted(URLS, PLAIN),
    planted(["{}", "id {}"], MIXED),
    planted(["id {}"], st.text("0123456789abcdef", min_size=32, max_size=64)),
    planted(["eyJhbGciOi.{}", "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----"], BASE64),
    planted(["{}:5432", "({})"], st.ip_addresses(v=4).map(str)),
    planted(["[{}]:443", "{}"], st.ip_addresses(v=6).filter(lambda one: int(one) > 0xFFFF).map(str)),
    planted(["<{}>"], st.text(string.ascii_lowercase, min_size=8).map("{}@example.org".format)),
)


@settings(deadline=None, max_examples=600)
@given(before=AROUND, pair=PLANTED, after=AROUND)
def test_a_planted_secret_never_survives(before, pair, after):
    text, secret = pair
    for part in (secret, secret.removesuffix("@example.org")[-6:]):
        assume(part not in f"{before} {after} {text.replace(secret, '')} <token><address><e-mail>")
        assert part not in redacted(f"{before} {text} {after}")


ODD = ["password", "token:", "=", '"', "'", "<token>", "<address>", "://", "@", "--secret", ":", "basic "]


@settings(deadline=None, max_examples=600)
@given(
    parts=st.lists(
        st.one_of(
            PLANTED.map(lambda pair: pair[0]),
            AROUND,
            st.text(max_size=40),
            st.sampled_from(
                ["password", "token:", "=", '"', "'", "<token>", "<address>", "://", "@", "--secret", ":", "basic "]
            ),
        ),
        max_size=12,
    ),
    between=st.sampled_from(["", " ", "\n"]),
)
def test_what_is_redacted_stays_as_it_is(parts, between):
    once = redacted(between.join(parts))
    assert redacted(once) == once


@given(st.text(max_size=200))
def test_any_text_at_all_has_an_answer(text):
    assert isinstance(redacted(text), str)


def test_an_address_that_is_none_is_left():
    assert redacted("version 999.1.2.3 and 1.2.3.4.5") == "version 999.1.2.3 and 1.2.3.4.5"
    assert ipaddress.ip_address("1.2.3.4")


PIECES = [
    "a", "A1b", "token", "token=", "token= ", 'token="', "token='", "token: ", "password ", "eyJ", "eyJaaaaa.",
    "-", "--", "--password", "--password ", ":", "a:", "g:", "1:1:1:1:g:", "1.", "://", "a://", "a://a@", "@",
    "a@", "a@b", "a@b.", ".", "0", "bearer ", "basic ", "basic a", " ", "\n", "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN ", "<token>", '"', "\\", 'password:\\"', "a+", "AKIA", "%",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_no_text_takes_longer_than_its_length_warrants(piece):
    """Whoever can write a line of a log must not be able to stop the loop: time grows with the length alone."""

    def seconds(length):
        text = (piece * length)[:length]
        began = time.process_time()
        redacted(text)
        return time.process_time() - began

    seconds(1000)
    short, long = min(seconds(5_000) for _ in range(3)), min(seconds(40_000) for _ in range(2))
    assert long < max(0.25, 24 * short)  # eight times as long; sixty-four times, were it quadratic
