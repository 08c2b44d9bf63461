"""Writing files and folders whole or not at all."""

import errno
import hashlib
import json
import logging
import os
import platform
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import filelock

try:
    import fcntl
except ModuleNotFoundError:  # Windows, whose files can always be locked
    fcntl = None  # type: ignore[assignment]

from nunif.errors import OutputError, UserError

logger = logging.getLogger(__name__)

# everything that is still being written starts with this; readers pass over it
PARTIAL_PREFIX = ".partial-"
LEFT_SECONDS = 24 * 3600.0  # after which what is half-written is nobody's
# of this machine, in the names of what is half-written
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:8]
SAFE_LENGTH = 143  # bytes of a name that every file system takes (eCryptfs; most take 255)
BUSY_SECONDS = 2.0  # that a file is waited for which another program has open, on Windows
# what Windows says then: access denied (by a virus scanner), sharing violation, lock violation
_BUSY = frozenset({5, 32, 33})
# of a file system without locks
NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL})


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write below `path` into an OutputError that says what
    to do."""
    try:
        yield
    except OSError as error:
        raise OutputError(describe_os_error(error, path)) from error


def raise_if_short(error: Exception, path: Path) -> None:
    """Raise a UserError where a file can't be read for lack of open files or memory, which is not
    the file's fault."""
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise UserError(describe_os_error(error, path).replace("written", "read")) from error


def describe_os_error(error: OSError, path: Path, *, keeps: bool = True) -> str:
    """One line for a failed write to `path`. keeps: whether what is finished there stays."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        rest = ", what is finished is kept" if keeps else ""
        return f"disk full while writing {path}: free some space and run it again{rest}"
    if getattr(error, "winerror", None) in _BUSY - {5}:
        return f"{path} can't be written, another program has it open: close it there and run again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"{path} can't be written ({error.strerror}): choose another folder or change its "
            "permissions"
        )
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return (
            f"{path} can't be made a folder because a file stands in its way: choose another name"
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            f"too many files are open to open {path}: close other programs, or allow more "
            "(ulimit -n 65536)"
        )
    if error.errno == errno.ENAMETOOLONG:
        return (
            f"{path} can't be written: its name is too long for this file system, choose a "
            "shorter one"
        )
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
def locked(
    path: Path, *, busy: str, seconds: float | None = None, advice: str = ""
) -> Iterator[None]:
    """Hold a lock file, alone among all processes, while the block runs. The file of a killed
    process locks nobody out.

    Where the file system has no locks the file's being there is the lock, which a killed process
    may leave behind.

    busy: what another process is doing that has the lock, logged while waiting.
    seconds: how long to wait at most; None: as long as it takes.

    Raises:
        UserError: `busy` and `advice`, when the time is up; or the file can't be written.
    """
    lock, path, has_locks = open_lock(path)
    if not has_locks:
        _tell_no_locks(path)
        left = f"if none is running any more, delete {path}"
        busy, advice = f"{busy} ({left})", f"{advice}; {left}" if advice else left
    with explain_os_errors(path.parent):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            logger.info(
                "%s: waiting for it%s", busy, "" if seconds is None else f", up to {seconds:g} s"
            )
            try:
                lock.acquire(timeout=-1 if seconds is None else seconds)
            except filelock.Timeout as error:
                raise UserError(f"{busy}: {advice}") from error
    try:
        yield
    finally:
        if has_locks:
            with suppress(OSError):  # on Windows it can't go before it is let go
                path.unlink()
        lock.release()


def open_lock(path: Path) -> tuple[filelock.BaseFileLock, Path, bool]:
    """A lock that is not taken yet, its file, and whether the file system has locks: else the
    file's being there is the lock. It may be let go in another thread than it is taken in."""
    with explain_os_errors(path.parent):
        has_locks = _has_locks(path.parent)
    if has_locks:
        return filelock.FileLock(str(path), thread_local=False), path, True
    path = longer_name(path, suffix=".soft")
    return filelock.SoftFileLock(str(path), thread_local=False), path, False


def _tell_no_locks(path: Path) -> None:
    logger.info(
        "%s: this file system has no locks, so %s is there while it is in use",
        path.parent,
        path.name,
    )


def _has_locks(folder: Path) -> bool:
    """Whether files in a folder can be locked: network drives, and what containers and FUSE mount,
    may not let them be."""
    if fcntl is None:
        return True
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return False
    return True


def check_not_source(path: Path, source: Path) -> None:
    """
    Raises:
        UserError: `path`, which is to be written, would take the place of what is read.
    """
    # not Path.resolve(), which raises where a link leads to itself
    is_same = os.path.realpath(path) == os.path.realpath(source)
    if is_same or (path.exists() and source.exists() and path.samefile(source)):
        raise UserError(f"{path} can't be written: it is the source {source}; choose another name")


def longer_name(path: Path, before: str = "", after: str = "", suffix: str | None = None) -> Path:
    """`path` with more in its name: before it, between its stem and its suffix, or a further suffix
    behind it all.

    Where the name would be longer than file systems take that take `path`, the stem is cut, and
    eight hex digits of the whole name keep it different from others.
    """
    stem, suffix = (path.stem, path.suffix) if suffix is None else (path.name, suffix)
    most, end = max(SAFE_LENGTH, len(os.fsencode(path.name))), after + suffix
    if len(os.fsencode(before + stem + end)) > most:
        end = f"~{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}{after}{suffix[:16]}"
        while stem and len(os.fsencode(before + stem + end)) > most:
            stem = stem[:-1]
    return path.with_name(before + stem + end)


def partial_path(path: Path, *, own: bool = True) -> Path:
    """Where `path` is written until it is whole: a hidden name beside it. own: of this process
    alone."""
    return longer_name(path, f"{PARTIAL_PREFIX}{os.getpid()}-" if own else PARTIAL_PREFIX)


def _writers_path(path: Path) -> Path:
    """The same, of one writer alone among all machines."""
    return longer_name(path, f"{PARTIAL_PREFIX}{_HOST}-{os.getpid()}-{secrets.token_hex(3)}-")


def plain_text(text: str) -> str:
    """The text with all that no UTF-8 can hold, such as the bytes of file names in other encodings,
    written as \\udc83."""
    return text.encode("utf-8", "backslashreplace").decode()


def remove_partials(folder: Path, *patterns: str) -> None:
    """Remove what killed processes left half-written in a folder; `patterns` (glob) are those of
    the names behind the mark.

    Only for names that no other process can be writing, because a lock keeps it from that.
    """
    found = chain.from_iterable(folder.glob(PARTIAL_PREFIX + pattern) for pattern in patterns)
    for path in list(found):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_left(folder: Path) -> None:
    """Remove what was half-written by processes of this machine that are dead, or by anybody more
    than a day ago. Nobody has to be kept from writing."""
    for path in list(folder.glob(f"{PARTIAL_PREFIX}*")):
        with suppress(OSError):
            if _is_left(path) and path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif _is_left(path):
                path.unlink(missing_ok=True)


def _is_left(partial: Path) -> bool:
    match = re.match(rf"{re.escape(PARTIAL_PREFIX)}({_HOST})-(\d+)-[0-9a-f]{{6}}-", partial.name)
    if match is not None and not _is_running(int(match[2])):
        return True
    return time.time() - partial.stat().st_mtime > LEFT_SECONDS


def _is_running(process: int) -> bool:
    if os.name == "nt":
        return True  # no signal asks there without doing something
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True


def files_below(folder: Path, *, quiet: bool = False) -> list[Path]:
    """The files of a folder tree in order, without hidden ones and those in hidden folders. Links
    are followed.

    Each folder is visited once, under its own name rather than a link's, so that links may lead
    anywhere. What can't be read is logged, if not `quiet`.
    """
    found: list[Path] = []
    seen: dict[tuple[int, int], Path] = {}
    folders, links = [folder], list[Path]()
    while folders or links:
        path = folders.pop() if folders else links.pop(0)
        try:
            status = path.stat()
            first = seen.setdefault((status.st_dev, status.st_ino), path)
            if first != path:
                if not quiet:
                    logger.info("left out: %s is the folder %s again", path, first)
                continue
            entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
        except OSError as error:
            if not quiet:
                logger.warning("left out: %s can't be read (%s)", path, error.strerror)
            continue
        for entry in entries:
            if entry.is_dir():
                (links if entry.is_symlink() else folders).append(entry)
            elif entry.is_file():
                found.append(entry)
            elif not quiet:
                tell_if_dangling(entry)
    return sorted(found)


def tell_if_dangling(path: Path) -> None:
    """Say so where `path` is a link to nothing, which looks like a file or a folder to people and
    like nothing to programs."""
    if path.is_symlink() and not path.exists():
        logger.warning("left out: %s is a link to %s, which is not there", path, os.readlink(path))


def file_sha256(path: Path) -> str:
    """64 hex digits of a file's content."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def replace(source: Path, target: Path) -> None:
    """os.replace, tried again for a moment where Windows refuses it because a viewer or a virus
    scanner has one of them open."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(0.05)


@contextmanager
def whole_path(path: Path) -> Iterator[Path]:
    """A name beside `path`, with its suffix, for a file that appears under `path` only when the
    block ends well.

    Raises UserError when the disk is full or the folder can't be written.
    """
    partial = _writers_path(path)
    with explain_os_errors(path):
        try:
            yield partial
            replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when the block ends without an
    error.

    The bytes reach the disk before the rename, so the file under `path` is at every moment either
    the old one or the new one. Raises UserError when the disk is full or the folder can't be
    written.
    """
    with whole_path(path) as partial, open(partial, "wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def copy_whole(source: Path, path: Path) -> None:
    """Copy a file, whole or not at all. No link: whoever writes into the one must not change the
    other."""
    with whole_file(path) as file, open(source, "rb") as old:
        shutil.copyfileobj(old, file, 1 << 20)


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all."""
    with whole_file(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write `plain_text` of a text, whole or not at all."""
    write_whole(path, plain_text(text).encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with a final newline, whole or not at all. File names of any
    bytes can be read back."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def write_whole_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Let `fill` write into a hidden folder beside `path`, then rename it to `path`.

    A folder already standing at `path` is kept and the new one is dropped. The hidden folder is
    this writer's alone, so that two of one folder, where locks don't reach, never mix. What a
    killed one leaves behind is for `remove_left`.
    """
    partial = _writers_path(path)
    with explain_os_errors(path):
        partial.mkdir(parents=True)
        try:
            fill(partial)
            try:
                if not path.exists():
                    replace(partial, path)
            except OSError:
                if not path.is_dir():  # else another writer was quicker
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
