from urllib.parse import parse_qs, urlsplit

import pytest

from alerting.links import ACTIONS, LIFETIME_MS, LinkSigner

ULID = "01KJM6DS00" + "0" * 16
OTHER = "01KJM6DS00" + "1" * 16
NOW_MS = 1_772_344_800_000
ALTERED = "this link is not one of ours, or it was altered"


@pytest.fixture
def signer():
    return LinkSigner(b"a key of thirty-two bytes, or so.", "https://web1.example.org:9105")


def parts(url):
    split = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(split.query, strict_parsing=True).items()}
    return split, query


def asked(signer, url, time_ms=NOW_MS, **changed):
    split, query = parts(url)
    occurrence = split.path.split("/")[4]
    words = {"occurrence": occurrence, **query, **changed}
    return signer.refusal(words["occurrence"], words["action"], words["expires"], words["signature"], time_ms)


def test_there_is_one_link_an_action_and_each_is_genuine(signer):
    links = signer.links(ULID, NOW_MS)
    assert tuple(links) == ACTIONS
    for action, url in links.items():
        split, query = parts(url)
        assert (split.scheme, split.netloc) == ("https", "web1.example.org:9105")
        assert split.path == f"/api/v1/alerts/{ULID}/feedback"
        assert query["action"] == action
        assert asked(signer, url) == ""


def test_without_an_address_there_are_none():
    assert LinkSigner(b"key", "").links(ULID, NOW_MS) == {}


def test_a_link_expires_after_a_fortnight(signer):
    url = signer.links(ULID, NOW_MS)["ack"]
    assert LIFETIME_MS == 14 * 86_400_000
    assert asked(signer, url, NOW_MS + LIFETIME_MS) == ""
    assert asked(signer, url, NOW_MS + LIFETIME_MS + 1) == "this link has expired"


@pytest.mark.parametrize(
    "changed",
    [
        {"occurrence": OTHER},
        {"action": "real"},
        {"expires": str(NOW_MS + LIFETIME_MS + 1)},
        {"signature": ""},
        {"signature": "A" * 43},
        {"signature": "ä\udcff"},
        {"occurrence": "\udcff"},
        {"action": "ack\n"},
    ],
)
def test_an_altered_link_is_refused(signer, changed):
    assert asked(signer, signer.links(ULID, NOW_MS)["ack"], **changed) == ALTERED


@pytest.mark.parametrize("expires", ["", "-1", "1e3", "٣", "9" * 16, "0x10", " 1", "never"])
def test_a_time_that_is_none_is_refused(signer, expires):
    assert asked(signer, signer.links(ULID, NOW_MS)["ack"], expires=expires) == "this link is not complete"


def test_every_letter_of_the_signature_counts(signer):
    url = signer.links(ULID, NOW_MS)["ack"]
    signature = parts(url)[1]["signature"]
    for place in range(len(signature)):
        letter = "A" if signature[place] != "A" else "B"
        assert asked(signer, url, signature=signature[:place] + letter + signature[place + 1 :]) == ALTERED


def test_parts_do_not_run_together(signer):
    """A signature of one alert and action is none of another that reads the same in one line."""
    expires = NOW_MS + 1
    given = parts(signer.path("a\nack", "x", expires))[1]["signature"]
    assert signer.refusal("a", "ack\nx", str(expires), given, NOW_MS) == ALTERED


def test_another_hosts_links_are_not_ours(signer):
    other = LinkSigner(b"another key", "https://web1.example.org:9105")
    assert asked(signer, other.links(ULID, NOW_MS)["ack"]) == ALTERED


def test_the_key_is_in_no_link(signer):
    assert all("thirty-two" not in url for url in signer.links(ULID, NOW_MS).values())
