"""Serve the page: python -m layers studio."""

import importlib.util
import logging
import os
import secrets
import socket
import sys
import tempfile
import webbrowser
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from layers.options_studio import HOST, StudioOptions
from nunif.errors import UserError

if TYPE_CHECKING:
    import uvicorn

    from layers.studio.app import Studio

logger = logging.getLogger(__name__)

NEEDED = ("starlette", "uvicorn")


def main(options: StudioOptions) -> None:
    """The command `studio`: serves until Ctrl-C.

    Raises:
        UserError: a package is missing, or the port is taken.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"the page needs {' and '.join(missing)}, not installed yet: pip install -e .[studio]"
        )
    from layers.studio.app import Studio
    from layers.studio.folder import Folder

    max_upload = round(options.max_upload * 1e9)
    with (
        listening(options.port) as listener,
        tempfile.TemporaryDirectory(prefix="studio-", ignore_cleanup_errors=True) as temporary,
    ):
        studio = Studio(
            Folder.of(options.place),
            temporary=Path(temporary),
            models=models_to_choose(options.model),
            max_upload=max_upload,
        )
        if studio.folder.only is not None:
            studio.open(studio.folder.find(studio.folder.only), studio.folder.only)
        try:
            server, address = server_of(studio, listener)
            print(f"The page is at {address}\nCtrl-C here ends it.", flush=True)
            if options.browser and has_screen():
                webbrowser.open(address)
            Thread(target=get_ready, daemon=True).start()
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            logger.info("ended")
        finally:
            studio.close()


def listening(port: int) -> socket.socket:
    """
    Raises:
        UserError: another program has the port.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if os.name == "posix":  # elsewhere it would let two programs have the port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"--port {port} can't be had ({error.strerror}): choose another, or leave it out"
        ) from error
    listener.listen()  # a browser that comes before all is imported waits
    return listener


def server_of(studio: "Studio", listener: socket.socket) -> "tuple[uvicorn.Server, str]":
    """What answers on `listener`, and its address. The token in it is new each time."""
    import uvicorn

    from layers.studio.app import create_app
    from layers.studio.guard import Guard

    port, token = listener.getsockname()[1], secrets.token_urlsafe(24)
    app = Guard(create_app(studio), token=token, port=port, max_upload=studio.max_upload)
    settings = uvicorn.Config(
        app,
        log_level="critical",  # what fails is told by the page's own handlers
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
        lifespan="off",
        ws="none",
    )
    return uvicorn.Server(settings), f"http://{HOST}:{port}/{token}/"


def get_ready() -> None:
    """Import what the first click needs, and takes seconds."""
    import layers.runtime.finders
    import layers.runtime.pointing  # noqa: F401


def has_screen() -> bool:
    """Whether a browser would come up in a window, and not in this terminal."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def models_to_choose(own: tuple[Path, ...]) -> dict[str, Path]:
    """Model files by their names on the page: those given, and those that come along."""
    from layers.studio.calls import released_models

    return {path.stem: path for path in (*own, *released_models())}
