"""The pages behind the links of notifications: plain HTML for a phone, without a script.

Enters: an alert and what the link is for. Leaves: a page that asks, or one that says what was done or why not.
Every word that comes from elsewhere is escaped; the page loads nothing and may be framed by nobody.
"""

from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType

from daemon.web.alert_answers import MAX_COMMENT, AlertDetail

MAX_NAME = 80  # letters: by whom is longer, it says that a link was used

# Without a referrer at all, a browser would call the origin of the form "null", and the guard would refuse it.
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": (
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        ),
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
        "X-Robots-Tag": "noindex",
    }
)

# What each action's button says, and what it does.
_ACTIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "ack": (
            "I take it in hand",
            "notes that you look after this alert: it is not told again, and nobody else is called for it.",
        ),
        "real": ("It was real", "notes that this alert was right: what was sampled meanwhile is never learned from."),
        "false": ("It was false", "notes that this alert was wrong: anomalies must be a little stronger from now on."),
        "expected": (
            "It was expected",
            "notes that this was expected, like a backup: an anomaly like it raises no alarm for a while.",
        ),
    }
)

_STYLE = (
    ":root{color-scheme:light dark}"
    "body{font:1.1rem/1.5 system-ui,sans-serif;margin:0 auto;max-width:36rem;padding:1.2rem;"
    "background:#fff;color:#1a1a1a;overflow-wrap:anywhere}"
    "h1{font-size:1.3rem}p.sentence{border-left:.3rem solid #b00020;padding-left:.8rem}"
    "label{display:block;margin-top:.8rem}"
    "input{box-sizing:border-box;width:100%;font:inherit;padding:.5rem;background:inherit;color:inherit;"
    "border:1px solid #767676;border-radius:.3rem}"
    "button{width:100%;margin-top:1.2rem;padding:.8rem;font:inherit;font-weight:bold;border:0;border-radius:.3rem;"
    "background:#0b57d0;color:#fff}"
    "small{color:#555}code{font-size:.95em}"
    "@media(prefers-color-scheme:dark){body{background:#121212;color:#e8e8e8}small{color:#aaa}"
    "button{background:#a8c7fa;color:#062e6f}}"
)


def is_action(action: str) -> bool:
    """Tell whether there is a page for `action`."""
    return action in _ACTIONS


def asking(host: str, alert: AlertDetail, action: str) -> str:
    """Return the page that asks: it says what the button will do, and nothing is done before."""
    button, effect = _ACTIONS[action]
    comment = (
        ""
        if action == "ack"
        else f'<label>Comment (optional)<input name="comment" maxlength="{MAX_COMMENT}" autocomplete="off"></label>'
    )
    return page(
        host,
        f"{escape(alert.alertname)}: {escape(button)}",
        f"{_alert(alert)}"
        f"<p>The button {escape(effect)} Nothing is done until you press it.</p>"
        '<form method="post">'
        f'<label>Your name (optional)<input name="name" maxlength="{MAX_NAME}" autocomplete="name"></label>{comment}'
        f'<button type="submit">{escape(button)}</button></form>',
    )


def done(host: str, alert: AlertDetail, action: str, changed: Sequence[str]) -> str:
    """Return the page that says what was done, what is `changed` by it, and how to undo it."""
    if action == "ack":
        said = f"It is in the hands of {escape(alert.acknowledged_by or '')}."
        undo = "That stays until the alert is over; there is nothing to undo."
    else:
        said = f"It is noted that this alert was {escape(action)}."
        undo = (
            f"To take that back, run <code>presage feedback {escape(alert.occurrence)} --undo</code> on"
            f" {escape(host)}, or follow another link of the notification."
        )
    effects = "".join(f"<p>{escape(one[:1].upper() + one[1:])}.</p>" for one in changed)
    return page(host, "Done", f"{_alert(alert)}<p><strong>{said}</strong></p>{effects}<p>{undo}</p>")


def refused(host: str, reason: str) -> str:
    """Return the page that says in one sentence why nothing was done."""
    return page(
        host,
        "Nothing was done",
        f"<p><strong>{escape(reason)}</strong></p>"
        f"<p>On {escape(host)} itself, <code>presage alerts</code> and <code>presage feedback</code> do the same.</p>",
    )


def _alert(alert: AlertDetail) -> str:
    since = f"over since {_when(alert.resolved_at)}" if alert.resolved_at else f"since {_when(alert.started_at or '')}"
    about = f"{alert.severity}, {since}"
    return f'<p class="sentence">{escape(alert.sentence)}</p><p><small>{escape(about)}</small></p>'


def _when(rfc3339: str) -> str:
    """Return a moment as people write it; in UTC, for nobody knows where the page is read."""
    return f"{rfc3339[:16].replace('T', ' ')} UTC"


def page(host: str, heading: str, body: str) -> str:
    """Return a whole page; `heading` and `body` are HTML, `host` is "" for those who may not know it."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(f'presaged on {host}' if host else 'presaged')}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{heading}</h1>{body}</main></body></html>\n"
    )
