"""What a problem of the API says, for tests that look at the sentence."""

import json

KIND = "application/problem+json; charset=utf-8"


def sentence(status, headers, text):
    """Return the sentence of a problem, after a look at its form, and any other answer as it is."""
    if headers.get("Content-Type") != KIND or not text:
        return text
    told = json.loads(text)
    assert set(told) - {"errors"} == {"type", "title", "status", "detail"}
    assert told["status"] == status
    assert told["detail"].isprintable()
    for one in told.get("errors", ()):
        assert set(one) == {"field", "detail"}
    if "errors" in told:
        first = told["errors"][0]
        assert told["detail"] == f"{first['field'] or 'the body'}: {first['detail']}"
    assert headers["Cache-Control"] == "no-store"
    return told["detail"] + "\n"
