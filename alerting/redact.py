"""What is taken out of other programs' words before they leave the host.

Enters: a line of a log, or what an operator wrote. Leaves: the same with marks in the place of passwords, tokens,
keys and addresses. It errs on the side of masking; it never takes longer than the length of the text warrants, and
what it has redacted it leaves as it is.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable

_TOKEN = "<token>"  # noqa: S105 - the mark in the place of one
_ADDRESS = "<address>"
_E_MAIL = "<e-mail>"
_NOT_SHOWN = "(not shown)"
_MOST_ROUNDS = 10

# Every pattern has to be linear: a run is taken whole (`++`, `{n,}+`) and begins where a run begins (`(?<!...)`).
_WORD = (
    r"(?:pass(?:word|wd|phrase|code)|pwd|secret|token|api[ _-]?key|access[_-]?key|private[_-]?key"
    r"|authori[sz]ation|credential)"
)
_END = r"[^\s,}\]]*+"
_KNOWN = rf"""(?:"(?:[^"\\]|\\.)*+"|'[^']*+'|<(?:token|address|e-mail)>){_END}"""
# What stands for a value may itself end like a key ("password: token: x"): then the next word belongs to it.
_VALUE = (
    rf"(?:{_KNOWN}|(?:(?:bearer|basic|digest|negotiate|token)\s++)?"
    rf"(?:(?:\S*+(?<=[:=])\s++)++(?:{_KNOWN}|\S++)?|{_KNOWN}|\S++))"
)


def _rule(pattern: str, mark: str, flags: int = 0) -> tuple[re.Pattern[str], str]:
    return re.compile(pattern, flags), mark


_RULES = (
    _rule(
        r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
        _TOKEN,
        re.DOTALL,
    ),
    _rule(r"([A-Za-z][A-Za-z0-9+.-]{0,30}://)[^\s/?#]*@", rf"\1{_TOKEN}@"),
    _rule(rf"({_WORD}[\w.-]{{0,64}}+[\"']?\s*+(?:=>|[:=])\s*+){_VALUE}", rf"\1{_TOKEN}", re.IGNORECASE),
    _rule(rf"(?<![\w-])(--?[\w-]{{0,64}}?{_WORD}[\w-]{{0,64}}+\s++){_VALUE}", rf"\1{_TOKEN}", re.IGNORECASE),
    _rule(r"\b(bearer\s++)\S{8,}+", rf"\1{_TOKEN}", re.IGNORECASE),
    # Base64 is told from a word ("basic checks") by its digits, signs and capitals.
    _rule(
        r"\b(basic\s++)(?=\S{0,200}?(?:[0-9+/=]|(?-i:[a-z][A-Z])))[A-Za-z0-9+/_=-]{6,}+", rf"\1{_TOKEN}", re.IGNORECASE
    ),
    _rule(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]*+)?", _TOKEN),
)
# After the runs of mixed letters: a key that is a part of one must not leave the rest of it.
_LATE_RULES = (
    _rule(r"(?:AKIA|ASIA|AROA|AIDA|AGPA|ANPA|ANVA)[A-Z0-9]{16}", _TOKEN),
    _rule(r"[0-9A-Fa-f]{32,}+", _TOKEN),
)
_LONG = re.compile(r"[A-Za-z0-9+/_-]{24,}+={0,2}")
_LONG_WORD = re.compile(r"[A-Za-z0-9]{24,}+")
_MAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]++@([\w-]++(?:\.[\w-]++)++)")
# An instance of a systemd unit looks like an e-mail address: postgresql@15-main.service.
_UNITS = re.compile(r"\.(?:service|socket|timer|target|mount|automount|swap|path|slice|scope|device)\Z")
_COLONS = re.compile(r"(?<![0-9A-Za-z_:])[0-9A-Za-z_]*+(?::[0-9A-Za-z_]*+){2,}+(?:\.[0-9]{1,3}){0,3}")
_GROUP = re.compile(r"(?:[0-9A-Fa-f]{0,4}|[0-9]{1,3}(?:\.[0-9]{1,3}){3})")
_DOTS = re.compile(r"(?<![0-9])(?<![0-9]\.)(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\.?[0-9])")
_MOST_GROUPS = 9  # of an IPv6 address: eight, or nine pieces with "::" at an end
_LEAST_GROUPS = 3


def redactor(log_text: str) -> Callable[[str], str]:
    """Return what to do with other programs' words: `log_text` is "redacted", "full" or "none"."""
    kinds: dict[str, Callable[[str], str]] = {"redacted": redacted, "full": str, "none": lambda _text: _NOT_SHOWN}
    if log_text not in kinds:
        raise ValueError(f'log_text must be one of {", ".join(kinds)}, not "{log_text}"')
    return kinds[log_text]


def redacted(text: str) -> str:
    """Return `text` with marks in the place of secrets and addresses. Doing it again changes nothing."""
    for _ in range(_MOST_ROUNDS):
        before, text = text, _once(text)
        if text == before:
            return text
    return _NOT_SHOWN  # a mark always made room for another: nothing that ordinary programs say


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return `text` without any of `secrets`, which have the longest first."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def plain(text: str) -> str:
    """Return `text` in one line, without control letters and runs of spaces."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _once(text: str) -> str:
    for pattern, mark in _RULES:
        text = pattern.sub(mark, text)
    text = _LONG.sub(lambda found: _TOKEN if _is_mixed(found[0]) else found[0], text)
    text = _LONG_WORD.sub(lambda found: found[0] if found[0].isalpha() or found[0].isdecimal() else _TOKEN, text)
    for pattern, mark in _LATE_RULES:
        text = pattern.sub(mark, text)
    text = _MAIL.sub(lambda found: found[0] if _UNITS.search(found[1]) else _E_MAIL, text)
    text = _COLONS.sub(lambda found: _without_ipv6(found[0]), text)
    return _DOTS.sub(lambda found: _ADDRESS if _is_address(found[0]) else found[0], text)


def _is_mixed(run: str) -> bool:
    """Tell whether a run of letters is no word and no path: these have no capitals and digits at once."""
    return (
        any("a" <= one <= "z" for one in run)
        and any("A" <= one <= "Z" for one in run)
        and any(one.isdecimal() for one in run)
    )


def _without_ipv6(word: str) -> str:
    """Return a word with colons with a mark in the place of each IPv6 address in it: "from:fe80::1:" has one."""
    groups = word.split(":")
    out: list[str] = []
    place = 0
    while place < len(groups):
        stretch = 0
        while stretch < min(_MOST_GROUPS, len(groups) - place) and _GROUP.fullmatch(groups[place + stretch]):
            stretch += 1
        for length in range(stretch, _LEAST_GROUPS - 1, -1):
            candidate = ":".join(groups[place : place + length])
            if candidate.strip(":") and _is_address(candidate):
                out.append(_ADDRESS)
                place += length
                break
        else:
            out.append(groups[place])
            place += 1
    return ":".join(out)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
