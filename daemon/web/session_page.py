"""The page that asks for the bearer token, for a browser beyond loopback: plain HTML, without a script.

Enters: a refused request. Leaves: a form that exchanges the token for a session. It says nothing of the host.
"""

from collections.abc import Mapping

from aiohttp import web

from daemon.web import link_page

FORM = "application/x-www-form-urlencoded"

_FORM = (
    "<p>{words}</p>"
    "<p>The token is in the file <code>token</code> of the state folder, for example"
    " <code>/var/lib/presaged/token</code>, readable by root.</p>"
    '<form method="post" action="/api/v1/session">'
    '<input name="user" value="presaged" autocomplete="username" hidden>'  # what a store of passwords files it under
    '<label>Token<input name="token" type="password" required autofocus autocomplete="current-password"></label>'
    '<button type="submit">Open presaged</button></form>'
)


def asking(status: int, headers: Mapping[str, str], *, wrong: bool = False) -> web.Response:
    """Return the page; `wrong`: a token was given, and it is not ours."""
    words = "This presaged shows its host to those it knows."
    if wrong:
        words = '<strong role="alert">This is not the token of this presaged.</strong>'
    html = link_page.page("", "Sign in", _FORM.format(words=words))
    return web.Response(status=status, text=html, content_type="text/html", headers={**link_page.HEADERS, **headers})
