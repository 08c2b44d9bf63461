"""What the page can ask for. Every refusal is a line of plain text."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import RLock
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from layers.studio import calls
from layers.studio.folder import Folder, safe_name
from layers.studio.frames import Frames
from layers.studio.guard import LARGEST_MESSAGE, UPLOAD, too_large
from layers.studio.project import FILM, MARKS, PEOPLE, POINTS, RESULT, Project
from nunif.errors import UserError, first_line
from nunif.video.reader import BrokenVideo

logger = logging.getLogger(__name__)

# the page itself: these files of this folder and no others
PAGE = {
    "": ("index.html", "text/html"),
    "style.css": ("style.css", "text/css"),
    "app.js": ("app.js", "text/javascript"),
    "stage.js": ("stage.js", "text/javascript"),
}


class Studio:
    """The state behind the page: the folder, and the film that is open, if one is."""

    def __init__(
        self, folder: Folder, *, temporary: Path, models: Mapping[str, Path], max_upload: int
    ) -> None:
        """temporary: a folder for all that is made. models: by their names on the page."""
        self.folder = folder
        self.temporary = temporary
        self.models = models
        self.max_upload = max_upload
        self.project: Project | None = None
        self._num_opened = 0
        self._lock = RLock()

    def open(self, path: Path, name: str, *, uploaded: Path | None = None) -> None:
        """Take a film instead of the one before. uploaded: its folder, to be removed with it.

        Raises:
            UserError: it can't be read.
        """
        frames = Frames(path)
        with self._lock:
            self._num_opened += 1
            folder = uploaded or self.temporary / f"film_{self._num_opened}"
            folder.mkdir(exist_ok=True)
            old, self.project = self.project, Project(self._num_opened, name, frames, folder)
        if old is not None:
            old.close()

    def current(self, number: int) -> Project:
        """
        Raises:
            UserError: another film has been opened meanwhile.
        """
        project = self.project
        if project is None or project.number != number:
            raise UserError("Another film has been opened meanwhile: load the page again.")
        return project

    def new_folder(self) -> Path:
        """For an upload."""
        with self._lock:
            self._num_opened += 1
            folder = self.temporary / f"upload_{self._num_opened}"
        folder.mkdir()
        return folder

    def state(self) -> dict[str, Any]:
        return {
            "folder": self.folder.root.name or str(self.folder.root),
            "films": self.folder.films(),
            "maxUpload": self.max_upload,
            "models": list(self.models),
            "widths": list(calls.WIDTHS),
            "film": self.project.state() if self.project else None,
        }

    def close(self) -> None:
        if self.project is not None:
            self.project.close()
            self.project = None


async def page(request: Request) -> Response:
    """A file of the page itself."""
    name = request.path_params.get("file", "")
    if name not in PAGE:
        raise HTTPException(404, "There is nothing at this address.")
    file, media_type = PAGE[name]
    return FileResponse(Path(__file__).with_name(file), media_type=media_type)


def create_app(studio: Studio) -> Starlette:
    """The page, without its guard."""

    def of_film(work: Callable[[Project, Any], Response | None]) -> Callable[..., Any]:
        """An address that belongs to the open film: `work` runs in a thread, with what was
        sent."""

        async def answer(request: Request) -> Response:
            sent = await read_json(request) if request.method in ("PUT", "POST") else request
            project = studio.current(int(request.path_params["film"]))
            response = await run_in_threadpool(work, project, sent)
            return response or JSONResponse(await run_in_threadpool(project.state))

        return answer

    async def state(request: Request) -> Response:
        return JSONResponse(await run_in_threadpool(studio.state))

    async def open_film(request: Request) -> Response:
        sent = await read_json(request)
        name = str(sent.get("name", ""))
        path = await run_in_threadpool(studio.folder.find, name)
        await run_in_threadpool(studio.open, path, path.name)
        return await state(request)

    async def upload(request: Request) -> Response:
        name = safe_name(request.query_params.get("name", ""))
        folder = studio.new_folder()
        try:
            await store(request, folder / name, studio.max_upload)
            await run_in_threadpool(studio.open, folder / name, name, uploaded=folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return await state(request)

    routes = [
        Route("/", page),
        Route("/{file}", page),
        Route("/api/state", state),
        Route("/api/open", open_film, methods=["POST"]),
        Route(UPLOAD, upload, methods=["PUT"]),
    ]
    for path, method, work in film_routes(studio):
        routes.append(Route("/api/film/{film:int}" + path, of_film(work), methods=[method]))
    return Starlette(
        routes=routes,
        exception_handlers={
            UserError: refuse,
            BrokenVideo: refuse,
            OSError: refuse,
            HTTPException: refuse,
            ClientDisconnect: refuse,
            500: fail,
        },
    )


def film_routes(studio: Studio) -> list[tuple[str, str, Callable[[Project, Any], Any]]]:
    """What belongs to the open film: the rest of the address, the method, and what is done, with
    the request or what was sent."""

    def picture(project: Project, request: Any) -> Response:
        show = request.query_params.get("show", FILM)
        if show not in (FILM, MARKS, RESULT):
            raise UserError(f"A frame can be shown as {FILM}, {MARKS} or {RESULT}.")
        number = int(request.path_params["frame"])
        return Response(project.picture(number, show), media_type="image/jpeg")

    def points(project: Project, sent: Any) -> None:
        project.set_points(sent.get("points"))

    def what(project: Project, sent: Any) -> None:
        if sent.get("what") not in (POINTS, PEOPLE):
            raise UserError(f"What goes is {POINTS} or {PEOPLE}.")
        project.what = sent["what"]

    def follow(project: Project, sent: Any) -> None:
        project.follow()

    def remove(project: Project, sent: Any) -> None:
        project.remove(calls.read_settings(sent, studio.models))

    def cancel(project: Project, sent: Any) -> None:
        project.cancel()

    def job(project: Project, request: Any) -> None:
        return None

    def download(project: Project, request: Any) -> Response:
        if project.result is None:
            raise UserError("Nothing has been removed yet.")
        return FileResponse(project.result.path, filename=project.download_name)

    return [
        ("", "GET", job),
        ("/frame/{frame:int}", "GET", picture),
        ("/points", "PUT", points),
        ("/what", "PUT", what),
        ("/follow", "POST", follow),
        ("/remove", "POST", remove),
        ("/cancel", "POST", cancel),
        ("/download", "GET", download),
    ]


async def read_json(request: Request) -> dict[str, Any]:
    """What a request has sent.

    Raises:
        HTTPException: it is too much, or no JSON object.
    """
    data = b""
    async for chunk in request.stream():
        data += chunk
        if len(data) > LARGEST_MESSAGE:
            raise HTTPException(413, "That is too much for this request.")
    try:
        value = json.loads(data or b"{}")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise HTTPException(400, "The request is no JSON object.")
    return value


async def store(request: Request, path: Path, most: int) -> None:
    """Write what comes to a file, as it comes.

    Raises:
        HTTPException: it is more than `most` bytes, whatever was said before, or than the disk has
            room for.
    """
    announced = int(request.headers.get("content-length", 0))
    if announced > shutil.disk_usage(path.parent).free:
        raise HTTPException(
            507, f"There is no room for {announced / 1e9:.3g} GB in {path.parent}: free some."
        )
    size = 0
    with open(path, "wb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise HTTPException(413, too_large(most))
            await run_in_threadpool(file.write, chunk)
    if not size:
        raise HTTPException(400, f"{path.name} is empty.")


async def refuse(request: Request, error: Exception) -> Response:
    """What someone can mend, as a line."""
    if isinstance(error, HTTPException):
        status, text = error.status_code, str(error.detail)
    elif isinstance(error, OSError):
        status, text = 507, f"{error.filename or 'The disk'}: {error.strerror or error}"
    else:
        status, text = 400, first_line(error)
    return PlainTextResponse(text, status, headers={"Connection": "close"} if status > 400 else {})


async def fail(request: Request, error: Exception) -> Response:
    logger.error("%s failed", request.url.path, exc_info=error)
    return PlainTextResponse("Something went wrong: the terminal says more.", 500)
