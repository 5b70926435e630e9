"""The gate in front of page and API: who may ask, for which addresses, and how much they may send.

Gradio answers more addresses than the page needs, among them a proxy and a monitor. Here only those
of the page and of the API pass.
"""

import re
import secrets
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lsr.serve.limits import Limits

_PAGE = re.compile(
    r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/(assets|static)/[\w./-]+"
    r"|/gradio_api/(upload|upload_progress|queue/join|queue/data|cancel|startup-events|theme\.css)"
    r"|/gradio_api/heartbeat/\w+|/gradio_api/file=.+|/api|/api/upscale"
)
"""Addresses of the page and of the API."""

_UPLOAD = "/gradio_api/upload"

_ROOM = 2**20
"""Most bytes of the body of a request in addition to its photographs."""

_HEADERS = {
    # Nothing is loaded from elsewhere, whatever a component of Gradio would like to.
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Guard:
    """Lets requests pass to an application, or answers them itself in one line.

    Args:
        app: The application.
        hosts: Names of this server that a request may use, so that a foreign page cannot reach it
            by a name of its own (DNS rebinding); empty if any will do.
        auth: User and password, `USER:PASSWORD`; None asks for none.
        limits: Limits of the server.
    """

    def __init__(
        self, app: ASGIApp, hosts: Sequence[str], auth: str | None, limits: Limits
    ) -> None:
        self._app = app
        self._hosts = hosts
        self._auth = auth
        self._most_bytes = {
            "/api/upscale": limits.file_bytes + _ROOM,
            _UPLOAD: limits.files * limits.file_bytes + _ROOM,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is None:
            if scope["path"] == "/":
                scope["query_string"] = b""  # Gradio would load the state of another page from it
            counted = _counted(receive, self._most_bytes_at(scope["path"]))
            return await self._app(scope, counted, _with_headers(send))
        if headers.get("content-length", "0").isdecimal():
            await _drain(receive)  # a client that still sends would not read the answer
        await refusal(scope, receive, _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        """Return the answer to a request that may not pass, None for one that may."""
        host = headers.get("host", "")
        if self._hosts and _split(f"//{host}").hostname not in self._hosts:
            return _answer(403, f"{host!r:.60} is no name of this server")
        if self._auth is not None and not self._knows_password(headers):
            answer = _answer(401, "user and password are needed, by HTTP basic authentication")
            answer.headers["WWW-Authenticate"] = 'Basic realm="lsr serve", charset="UTF-8"'
            return answer
        origin = headers.get("origin")
        if origin is not None and _split(origin).netloc != host:
            return _answer(403, "requests from pages of other servers are not answered")
        if not headers.get("content-length", "0").isdecimal():
            return _answer(400, "Content-Length is no number")
        most_bytes = self._most_bytes_at(scope["path"])
        if int(headers.get("content-length", 0)) > most_bytes:
            return _answer(413, _too_many(most_bytes))
        if ".." in scope["path"] or not _PAGE.fullmatch(scope["path"]):
            return _answer(404, "nothing is here: the page is at /, the API at /api/upscale")
        return None

    def _knows_password(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        try:
            found = b64decode(given, validate=True)
        except (Base64Error, ValueError):
            return False
        assert self._auth is not None
        return scheme.lower() == "basic" and secrets.compare_digest(found, self._auth.encode())

    def _most_bytes_at(self, path: str) -> int:
        return self._most_bytes.get(path, _ROOM)


def _counted(receive: Receive, most_bytes: int) -> Receive:
    """Return `receive` with an end: the length of a body need not be told in advance."""
    count = 0

    async def counted() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > most_bytes:
            raise HTTPException(413, _too_many(most_bytes))
        return message

    return counted


def _too_many(most_bytes: int) -> str:
    return f"the request has more than {most_bytes / 1e6:,.1f} MB, the limit: send a smaller file"


def _answer(status: int, line: str) -> JSONResponse:
    return JSONResponse({"error": line}, status)


def _split(url: str) -> SplitResult:
    """Return the parts of a URL, all empty if it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


async def _drain(receive: Receive) -> None:
    """Read a body and forget it."""
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        continue


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
        await send(message)

    return sending
