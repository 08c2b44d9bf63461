"""Who may talk to the page: only a browser on this machine that was given its address.

Any page that a browser shows may send requests to 127.0.0.1. What keeps it from doing anything
here is the token in the address, which it can't know; that the address must be called by this
machine's own name (or else a stranger's name could be made to point here, and the stranger's page
would count as ours); and that a request which names its page must come from this one.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from starlette.responses import PlainTextResponse, RedirectResponse

from layers.options_studio import HOST

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LARGEST_MESSAGE = 1 << 20  # bytes that any request but an upload may bring
UPLOAD = "/api/upload"
LINGER = 5.0  # seconds for which the rest of a request that is refused is still taken
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets requests through to `app`, with the token taken off their path, or refuses them with a
    line."""

    def __init__(self, app: App, *, token: str, port: int, max_upload: int) -> None:
        """max_upload: bytes."""
        self._app = app
        self._token = token
        self._hosts = {f"{host}:{port}" for host in (HOST, "localhost")}
        if port == 80:
            self._hosts |= {HOST, "localhost"}
        self._max_upload = max_upload

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http":
            return None  # a web socket, which the server then closes
        headers = {
            name.decode("latin-1"): text.decode("latin-1") for name, text in scope["headers"]
        }
        # as it was sent: decoded once, by Starlette, after the token is off
        given, slash, rest = scope["path"].removeprefix("/").partition("/")

        # who waits for an answer before they send it sends nothing after a refusal
        sends_more = "expect" not in headers

        async def receive_body() -> MutableMapping[str, Any]:
            nonlocal sends_more
            message = await receive()
            sends_more = message.get("more_body", False)
            return message

        async def rest_of_body() -> None:
            while sends_more:
                await receive_body()

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    # closed while bytes are under way, a connection is reset, and who sent them may
                    # never see why they are refused
                    with suppress(TimeoutError, asyncio.TimeoutError):  # two before Python 3.11
                        await asyncio.wait_for(rest_of_body(), LINGER)
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *own]}
            await send(message)

        response: App | None = None
        if refusal := self._refusal(scope["method"], headers, given, f"/{rest}"):
            response = PlainTextResponse(refusal[1], refusal[0], headers={"Connection": "close"})
        elif not slash:
            response = RedirectResponse(f"/{given}/")
        inner = {**scope, "path": f"/{rest}", "raw_path": f"/{rest}".encode()}
        await (response or self._app)(inner, receive_body, send_with_headers)

    def _refusal(
        self, method: str, headers: dict[str, str], token: str, path: str
    ) -> tuple[int, str] | None:
        """The status and the line of a request that must not come through."""
        host = headers.get("host", "")
        if host not in self._hosts:
            return 421, f"This page answers only as {HOST}, on the machine where it runs."
        if not secrets.compare_digest(token.encode(), self._token.encode()):
            return 403, "Open the page by the whole address that its command has printed."
        origin = headers.get("origin")
        if origin is not None and origin != f"http://{host}":
            return 403, "Another page has sent this request: it is refused."
        if method not in ("GET", "HEAD") and headers.get("sec-fetch-site", "same-origin") not in (
            "same-origin",
            "none",
        ):
            return 403, "Another page has sent this request: it is refused."
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            return 400, "The request doesn't say how long it is."
        most = self._max_upload if path == UPLOAD else LARGEST_MESSAGE
        return (413, too_large(most)) if int(length) > most else None


def too_large(most: int) -> str:
    """What is said to an upload of more bytes than `most`."""
    size = f"{most / 1e9:.3g} GB" if most >= 1e8 else f"{most / 1e6:.3g} MB"
    return (
        f"That is more than {size}, which is the most that is taken here. Start the page with the "
        "film instead (python -m layers studio FILM), or raise --max-upload."
    )
