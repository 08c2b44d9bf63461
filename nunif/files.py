"""Writing files and folders whole or not at all."""

import errno
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import filelock

from nunif.errors import OutputError, UserError

logger = logging.getLogger(__name__)

PARTIAL_PREFIX = ".partial-"  # everything that is still being written starts with this; readers pass over it


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `path` into an OutputError that says what to do."""
    try:
        yield
    except OSError as error:
        raise OutputError(describe_os_error(error, path)) from error


def describe_os_error(error: OSError, path: Path, *, keeps: bool = True) -> str:
    """One line for a failed write to `path`. keeps: whether what is finished there stays."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        rest = ", what is finished is kept" if keeps else ""
        return f"disk full while writing {path}: free some space and run it again{rest}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} can't be written ({error.strerror}): choose another folder or change its permissions"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"{path} can't be made a folder because a file stands in its way: choose another name"
    return f"{path} can't be written: {error.strerror or error}"


def make_folder(path: Path) -> Path:
    """Create a folder with its parents and make sure that files can be made in it.

    Raises:
        UserError: the folder can't be made or written.
    """
    with explain_os_errors(path):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    return path


@contextmanager
def locked(path: Path, *, busy: str, seconds: float | None = None, advice: str = "") -> Iterator[None]:
    """Hold a lock file, alone among all processes, while the block runs. The file of a killed process locks nobody out.

    busy: what another process is doing that holds it, told while waiting. seconds: how long to wait at most; None: as
        long as it takes.

    Raises:
        UserError: `busy` and `advice`, when the time is up; or the file can't be written.
    """
    lock = filelock.FileLock(str(path))
    with explain_os_errors(path.parent):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            logger.info("%s: waiting for it%s", busy, "" if seconds is None else f", up to {seconds:g} s")
            try:
                lock.acquire(timeout=-1 if seconds is None else seconds)
            except filelock.Timeout as error:
                raise UserError(f"{busy}: {advice}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # on Windows it can't go before it is let go
            path.unlink()
        lock.release()


def remove_partials(folder: Path, *patterns: str) -> None:
    """Remove what killed processes left half-written in a folder; `patterns` (glob) are those of the names behind the mark.

    Only for names that no other process can be writing, because a lock keeps it from that.
    """
    for path in [path for pattern in patterns for path in folder.glob(PARTIAL_PREFIX + pattern)]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """64 hex digits of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """A name beside `path`, with its suffix, for a file that appears under `path` only when the block ends well.

    Raises UserError when the disk is full or the folder can't be written.
    """
    partial = path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{path.name}")
    with explain_os_errors(path):
        try:
            yield partial
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when the block ends without an error.

    The bytes reach the disk before the rename, so the file under `path` is at every moment either the old one or
    the new one. Raises UserError when the disk is full or the folder can't be written.
    """
    with whole_path(path) as partial, open(partial, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def copy_whole(source: Path, path: Path) -> None:
    """Copy a file, whole or not at all. No link: whoever writes into the one must not change the other."""
    with whole_file(path) as file, open(source, "rb") as old:
        shutil.copyfileobj(old, file, 1 << 20)


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with whole_file(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, whole or not at all."""
    write_whole(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def write_whole_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into a hidden folder beside `path`, then rename it to `path`.

    A folder already standing at `path` is kept and the new one is dropped. A hidden folder that a killed run left
    behind is replaced.
    """
    partial = path.with_name(PARTIAL_PREFIX + path.name)
    with explain_os_errors(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            fill(partial)
            if not path.exists():
                os.replace(partial, path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
