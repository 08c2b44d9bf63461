"""Sources of records shared out among processes and machines: who does which, and one at a time."""

import logging
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

import filelock

from nunif.errors import UserError
from nunif.files import explain_os_errors, open_lock, remove_left
from nunif.record_options import RecordFolderOptions, Share
from nunif.records import record_stem

logger = logging.getLogger(__name__)

Item = TypeVar("Item")


AnyTurn = AbstractContextManager[None]


class Turn(AbstractContextManager[None]):
    """The right to make the records of one source in a folder, alone among all processes, while the
    block runs."""

    def __init__(self, folder: Path, stem: str, share: Share, *, seconds: float) -> None:
        """
        Args:
            stem: what the records' names begin with.
            seconds: after so long, a process of another machine that has the right is told of.
        """
        # those who share out its clips do not keep each other from it
        own = f"-{share.number}of{share.count}" if share.divides_sources else ""
        self._path = folder / f".lock-{stem}{own}"
        self._busy = f"another process is making the records {stem}_* in {folder}"
        self._seconds = seconds
        self._lock: filelock.BaseFileLock | None = None

    def take(self) -> bool:
        """Whether nobody else has it; then it is held until the block ends."""
        lock, path, has_locks = open_lock(self._path)
        if not has_locks:
            _tell_no_locks(path.parent)
        with explain_os_errors(path.parent):
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout:
                return False
        self._hold(lock, path, has_locks)
        return True

    def wait(self) -> None:
        """Take it as soon as nobody else has it."""
        lock, path, has_locks = open_lock(self._path)
        left = "" if has_locks else f" (if none is running any more, delete {path})"
        logger.info("%s%s: waiting for it", self._busy, left)
        with explain_os_errors(path.parent):
            while True:
                try:
                    lock.acquire(timeout=self._seconds)
                    break
                except filelock.Timeout:
                    self._tell_holder(path)
        self._hold(lock, path, has_locks)
        remove_left(self._path.parent)  # who had it may have been killed

    def _hold(self, lock: filelock.BaseFileLock, path: Path, has_locks: bool) -> None:
        self._lock, self._held = lock, path
        if has_locks:  # what stands for a lock elsewhere says it itself
            with suppress(OSError):  # Windows lets nobody write into it
                path.write_text(f"{os.getpid()}\n{platform.node()}\n", encoding="utf-8")

    def _tell_holder(self, path: Path) -> None:
        host, number, age = "", "", 0.0
        with suppress(OSError, ValueError, UnicodeDecodeError):
            number, host = path.read_text(encoding="utf-8").split()[:2]
            age = time.time() - path.stat().st_mtime
        if host != platform.node():
            logger.warning(
                "%s: process %s of %s has been at it for %.0f min; if it isn't running any more, "
                "delete %s",
                self._busy,
                number or "?",
                host or "a machine that isn't told",
                age / 60,
                path,
            )

    def __enter__(self) -> None:
        assert self._lock is not None  # take or wait comes first

    def __exit__(self, *_: object) -> None:
        assert self._lock is not None
        if not isinstance(self._lock, filelock.SoftFileLock):
            with suppress(OSError):  # on Windows it can't go before it is let go
                self._held.unlink()
        self._lock.release()
        self._lock = None


def turn_for(options: RecordFolderOptions, label: str, file_hash: str) -> Turn:
    """The right to the records of a source. label: what their names have between the prefix and the
    source's hash, as the depth model."""
    stem = record_stem(options.prefix, label, file_hash)
    return Turn(options.data_dir, stem, options.share, seconds=options.lock_seconds)


@cache
def _tell_no_locks(folder: Path) -> None:
    logger.info(
        "%s: this file system has no locks, so files .lock-*.soft are there while records are made",
        folder,
    )


def in_turns(
    items: Iterable[Item], turn_of: Callable[[Item], Turn | None]
) -> Iterator[tuple[Item, AnyTurn]]:
    """Each item with the right to it, which is taken already, for a `with` block, in any thread.
    Those that other processes are at come last: first those that are free by then, and one is
    waited for only where none is. What has no turn needs none."""
    later = list[tuple[Item, Turn]]()
    for item in items:
        turn = turn_of(item)
        if turn is None:
            yield item, nullcontext()
        elif turn.take():
            yield item, turn
        else:
            later.append((item, turn))
    while later:
        free = (place for place, (_, turn) in enumerate(later) if turn.take())
        place = next(free, None)
        if place is None:
            place = 0
            later[place][1].wait()
        yield later.pop(place)


def hashed(items: Iterable[Item], hash_of: Callable[[Item], str]) -> list[tuple[Item, str]]:
    """Each source with the hash of its content; "" where it can't be read, as shows when it is
    opened."""
    found = []
    for item in items:
        try:
            found.append((item, hash_of(item)))
        except UserError:
            found.append((item, ""))
    return found


def own_sources(
    items: Iterable[Item], hash_of: Callable[[Item], str], share: Share
) -> list[tuple[Item, str]]:
    """Those of a share, as `hashed` gives them."""
    return [pair for pair in hashed(items, hash_of) if share.has_source(pair[1])]


def tell_share(shard: str, share: Share, num_own: int, total: int, what: str) -> None:
    """Say what a share was, so that the logs of all shares show that nothing is missing. what: the
    sources, such as "videos"."""
    own = f"{share.number}/{share.count}" if shard == "auto" else shard
    if share.by == "clip":
        logger.info("share %s of the clips of %d %s", own, total, what)
    else:
        logger.info("share %s: %d of %d %s", own, num_own, total, what)
