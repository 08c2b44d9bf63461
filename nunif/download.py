"""Files from the web, whole or not at all, fetched once and resumed where they broke off. Nothing
here imports torch."""

import logging
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from email.message import Message
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from tqdm import tqdm

from nunif.errors import UserError
from nunif.files import (
    explain_os_errors,
    file_sha256,
    locked,
    longer_name,
    make_folder,
    partial_path,
    replace,
    write_whole,
)

logger = logging.getLogger(__name__)

PRETRAINED = "pretrained_models"
TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 4  # in a row that bring nothing new
RETRY_SECONDS = 2.0
CHUNK = 1 << 16


def find_file(source: str | Path, *, releases: Mapping[str, str]) -> Path:
    """The file on disk that a path, an http(s) address or the name of a release stands for; fetched
    if need be.

    releases: addresses by name. A file on disk goes before a release of that name.

    Raises:
        UserError: there is no such file, or it can't be fetched.
    """
    path, text = Path(source), str(source)
    if path.is_file():
        return path
    url = releases.get(text, text)
    if is_url(url):
        return download(url, checkpoints_folder(Path.cwd()))
    known = f", or one of the known releases: {', '.join(sorted(releases))}" if releases else ""
    raise UserError(
        f"{path} does not exist: give the path or http(s) address of a model file{known}"
    )


@contextmanager
def quiet_hub() -> Iterator[None]:
    """Keep back what huggingface_hub says of each try that fails (and says twice, by a handler of
    its own and by ours), for callers that tell of the last one. The package is imported already."""
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        hub.setLevel(level)


def is_url(text: str) -> bool:
    """Whether a text is an address to fetch from. "C:\\model.pth" is none."""
    return text.lower().startswith(("http://", "https://"))


def checkpoints_folder(start: Path) -> Path:
    """Where fetched model files are kept: in pretrained_models/ of the project that `start` lies
    in, else of `start`."""
    root = next(
        (folder for folder in (start, *start.parents) if (folder / PRETRAINED).is_dir()), start
    )
    return root / PRETRAINED / "hub" / "checkpoints"


def download(url: str, folder: Path) -> Path:
    """Fetch a file into a folder, under the address's last word, unless it is there already.

    What has come when the connection breaks is kept beside it under a hidden name, and this call or
    the next one goes on from there if the server can say that the file is still the same one. Where
    the name carries the beginning of the content's SHA-256, in torch.hub's manner
    (`name-0123abcd.pth`), the content is checked against it.

    Raises:
        UserError: the address can't be reached, has no such file, breaks off again and again, gives
            a web page, or gives another content than its name promises; or the file can't be
            written.
    """
    name = file_name_of(url)
    path = folder / name
    if path.is_file():
        logger.info("%s is here already, it is not fetched again", path)
        return path
    make_folder(folder)
    with locked(folder / ".lock", busy=f"another process is downloading into {folder}"):
        if not path.is_file():
            logger.info("downloading %s to %s", url, path)
            _fetch(url, path)
    return path


def file_name_of(url: str) -> str:
    """The file name at the end of an address.

    Raises:
        UserError: there is none, or none that is one on every system.
    """
    name = unquote(PurePosixPath(urlsplit(url).path).name)
    if (
        not re.fullmatch(r'[^\x00-\x1f<>:"/\\|?*]+', name)
        or name.startswith(".")
        or name.endswith((".", " "))
    ):
        raise UserError(f"{url} does not end in a file name: give the address of the file itself")
    return name


def promised_hash(name: str) -> str | None:
    """The first hex digits, 8 or more, of the SHA-256 that a file name carries, if it does:
    `name-0123abcd.pth`."""
    found = re.search(r"-([0-9a-f]{8,64})\.[^.]+$", name, re.IGNORECASE)
    if found is None or _is_date(found[1]):
        return None
    return found[1].lower()


def _is_date(digits: str) -> bool:
    """Whether eight digits are a day of our times, such as 20250919, and so no hash."""
    try:
        return len(digits) == 8 and 1990 <= datetime.strptime(digits, "%Y%m%d").year <= 2099
    except ValueError:
        return False


class _Interrupted(Exception):
    """The connection broke; what came before is kept."""


def _fetch(url: str, path: Path) -> None:
    partial = _partial(path)
    failures = 0
    while True:
        before = _size(partial)
        try:
            _receive(url, path)
            break
        except _Interrupted as error:
            failures = 0 if _size(partial) > before else failures + 1
            if failures == ATTEMPTS:
                raise UserError(
                    f"{url} broke off ({error}): run it again, {_size(partial):,} bytes of it are "
                    "kept"
                ) from error
            logger.info(
                "%s broke off after %s bytes (%s), trying again",
                path.name,
                f"{_size(partial):,}",
                error,
            )
            time.sleep(RETRY_SECONDS * (failures + 1))
    with explain_os_errors(path):
        promised, actual = promised_hash(path.name), file_sha256(partial)
        _stamp(path).unlink(missing_ok=True)
        if promised is not None and not actual.startswith(promised):
            partial.unlink()
            raise UserError(
                f"{url} gave a file whose SHA-256 begins with {actual[: len(promised)]}, but its "
                f"name promises {promised}: "
                "try again, or get it from another address"
            )
        replace(partial, path)


def _receive(url: str, path: Path) -> None:
    """Bring the partial file of `path` to its full length, from where it stands if that is
    possible."""
    partial = _partial(path)
    start, version = _size(partial), _read_stamp(path, url)
    headers = {"User-Agent": "nunif", "Accept-Encoding": "identity"}
    if start and version:
        headers |= {"Range": f"bytes={start}-", "If-Range": version}
    try:
        # http(s) alone: see `is_url`
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)  # noqa: S310
    except HTTPError as error:
        error.close()
        if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            if error.headers.get("Content-Range", "").endswith(f"/{start}"):
                return  # all of it is here
            partial.unlink()
            raise _Interrupted("the file has changed") from error
        hint = (
            "try again later"
            if error.code >= 500 or error.code == HTTPStatus.TOO_MANY_REQUESTS
            else "check the address"
        )
        raise UserError(
            f"{url} can't be fetched, the server says {error.code} {error.reason}: {hint}"
        ) from error
    except (OSError, ValueError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise UserError(
            f"{url} can't be reached ({reason}): check the address and the network, or fetch it "
            "elsewhere and give its path"
        ) from error
    with response:
        if response.headers.get_content_type() == "text/html":
            raise UserError(
                f"{url} gives a web page, not a file: give the address behind its download button"
            )
        resumed = response.status == HTTPStatus.PARTIAL_CONTENT
        if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            partial.unlink(missing_ok=True)
            raise _Interrupted("the server sent another part than was asked for")
        first = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = first + int(length) if length else None
        with (
            explain_os_errors(path),
            open(partial, "ab" if resumed else "wb") as file,
            _bar(path.name, first, total) as bar,
        ):
            if not resumed:
                _write_stamp(path, url, response.headers)
            while chunk := _read(response):
                file.write(chunk)
                bar.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
    if total is not None and _size(partial) < total:
        raise _Interrupted("the connection was closed")


def _bar(title: str, first: int, total: int | None) -> tqdm:
    # disable=None leaves the bar out where nobody sees it move (a pipe, a log file)
    return tqdm(
        desc=title,
        initial=first,
        total=total,
        unit="B",
        unit_scale=True,
        unit_divisor=1024,
        disable=None,
    )


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, HTTPException) as error:
        raise _Interrupted(str(error) or type(error).__name__) from error


def _partial(path: Path) -> Path:
    return partial_path(path, own=False)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _stamp(path: Path) -> Path:
    """Beside the partial file: the address that it comes from, and the server's mark of the
    content's version."""
    return longer_name(partial_path(path, own=False), suffix=".stamp")


def _read_stamp(path: Path, url: str) -> str | None:
    """The version of the partial file; None when it can't be gone on with."""
    stamp = _stamp(path)
    lines = stamp.read_text(encoding="utf-8").splitlines() if stamp.is_file() else []
    return lines[1] if len(lines) == 2 and lines[0] == url else None


def _write_stamp(path: Path, url: str, headers: Message) -> None:
    etag = headers.get("ETag", "")
    # a weak mark does not promise the same bytes
    version = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified", "")
    write_whole(_stamp(path), f"{url}\n{version}".encode())
