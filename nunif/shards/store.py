"""Files of one folder, read by position: on this machine, behind an address, or copied when they
are first used.

A store is pickled on its way to processes that load, and each of them opens files and connections
of its own.
"""

import hashlib
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, TypeVar

from nunif.errors import UserError, first_line
from nunif.files import locked, make_folder, whole_path
from nunif.places import address_of, text_of
from nunif.shards.options import CacheSettings
from nunif.shards.packages import need

logger = logging.getLogger(__name__)

Value = TypeVar("Value")

MOST_OPEN = 256  # files of a store that are open at a time
WAITS = (0.5, 1.0, 2.0, 4.0)  # seconds before a far file is asked for again
COPY_BYTES = 1 << 24  # of a far file at a time


class Store(Protocol):
    """Where the files of a folder come from."""

    def read(self, name: str, start: int, stop: int) -> bytes:
        """Some bytes of a file. Raises OSError, or ValueError where there are fewer."""
        ...

    def copy(self, name: str, path: Path) -> None:
        """Write a whole file to `path`. Raises OSError."""
        ...

    def sizes(self) -> dict[str, int] | None:
        """The sizes of all files, -1 where that isn't told; None where there is no list."""
        ...

    def stamp(self, name: str) -> str | None:
        """A word that changes when a file does; None if there is no such file."""
        ...


def open_store(place: Path, cache: CacheSettings) -> Store:
    """
    Raises:
        UserError: an address that can't be opened, and what it needs.
    """
    address = address_of(place)
    store: Store = LocalStore(place) if address is None else RemoteStore(address)
    return store if cache.folder is None else CopiedStore(store, place, cache)


class LocalStore:
    """A folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: OrderedDict[str, int] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "_open": OrderedDict()}

    def __del__(self) -> None:
        for file in self._open.values():
            with suppress(OSError):
                os.close(file)

    def read(self, name: str, start: int, stop: int) -> bytes:
        data = read_at(self._file(name), start, stop)
        if len(data) != stop - start:
            raise ValueError(f"{name} ends before byte {stop}")
        return data

    def copy(self, name: str, path: Path) -> None:
        with open(self.folder / name, "rb") as source, open(path, "wb") as target:
            while data := source.read(COPY_BYTES):
                target.write(data)

    def sizes(self) -> dict[str, int]:
        with os.scandir(self.folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}

    def stamp(self, name: str) -> str | None:
        try:
            status = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        return f"{status.st_size}-{status.st_mtime_ns}"

    def _file(self, name: str) -> int:
        """The number of an open file, the one that was not used for longest closed for it."""
        file = self._open.get(name)
        if file is None:
            if len(self._open) >= MOST_OPEN:
                os.close(self._open.popitem(last=False)[1])
            file = os.open(self.folder / name, os.O_RDONLY | getattr(os, "O_BINARY", 0))
            self._open[name] = file
        self._open.move_to_end(name)
        return file


def read_at(file: int, start: int, stop: int) -> bytes:
    """Bytes of an open file, fewer where it ends before."""
    parts = []
    while start < stop:
        if hasattr(os, "pread"):
            part = os.pread(file, stop - start, start)
        else:  # Windows, where no two read from one
            os.lseek(file, start, os.SEEK_SET)
            part = os.read(file, stop - start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class RemoteStore:
    """A folder behind an address, by fsspec."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self._owner, self._parts = 0, (None, "")
        self._connect()

    def __getstate__(self) -> dict[str, Any]:
        return {"address": self.address, "_owner": 0, "_parts": (None, "")}

    def read(self, name: str, start: int, stop: int) -> bytes:
        data = self._ask(name, lambda far, path: far.cat_file(path, start=start, end=stop))
        if len(data) != stop - start:
            raise ValueError(f"{name} gave {len(data)} bytes, {stop - start} were asked for")
        return data

    def copy(self, name: str, path: Path) -> None:
        size = self._ask(name, lambda far, file: far.info(file))["size"]
        with open(path, "wb") as target:
            for start in range(0, size, COPY_BYTES):
                target.write(self.read(name, start, min(size, start + COPY_BYTES)))

    def sizes(self) -> dict[str, int] | None:
        far, root = self._connect()
        with _explained(self.address):
            try:
                entries = far.ls(root, detail=True)
            except (NotImplementedError, ValueError, FileNotFoundError):
                return None
        return {
            entry["name"].rstrip("/").rpartition("/")[2]: -1 if size is None else int(size)
            for entry, size in ((entry, entry.get("size")) for entry in entries)
        }

    def stamp(self, name: str) -> str | None:
        far, root = self._connect()
        with _explained(f"{self.address}/{name}"):
            try:
                info = far.info(f"{root}/{name}")
            except FileNotFoundError:
                return None
        # size, time, ETag: what each file system tells
        return repr(sorted((key, str(value)) for key, value in info.items()))

    def _connect(self) -> tuple[Any, str]:
        """The file system of this very process, and the path in it."""
        if self._owner != os.getpid():
            fsspec = need("fsspec", f"reading {self.address}")
            with _explained(self.address):
                far, root = fsspec.core.url_to_fs(self.address, skip_instance_cache=True)
            self._parts, self._owner = (far, root.rstrip("/")), os.getpid()
        return self._parts

    def _ask(self, name: str, question: Callable[[Any, str], Value]) -> Value:
        """Ask again some times: stores that are busy say so, and connections break.

        Raises:
            OSError: there is no such file, or no answer in the end.
        """
        far, root = self._connect()
        for wait in (*WAITS, None):
            try:
                return question(far, f"{root}/{name}")
            except (FileNotFoundError, PermissionError):
                raise
            except Exception as error:  # each file system has errors of its own
                if wait is None:
                    raise OSError(f"{name}: no answer ({first_line(error)})") from error
                time.sleep(wait)
        raise AssertionError("the last try returns or raises")


@contextmanager
def _explained(address: str) -> Iterator[None]:
    """What goes wrong with an address at the start, as one line."""
    try:
        yield
    except ImportError as error:
        raise UserError(
            f"{address} needs a package that is not installed ({first_line(error)})"
        ) from error
    except PermissionError as error:
        raise UserError(
            f"{address} can't be read, its store gives no permission ({first_line(error)}): log in "
            "there, or give the rights to list and to read"
        ) from error
    except FileNotFoundError:
        raise
    except UserError:
        raise
    except NotImplementedError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise UserError(f"{address} can't be read: {first_line(error)}") from error


class CopiedStore:
    """Another store whose files are copied to a folder as a whole when they are first read; those
    that were not used for longest make room."""

    def __init__(self, source: Store, place: Path, cache: CacheSettings) -> None:
        assert cache.folder is not None
        word = hashlib.sha256(os.fsencode(text_of(place))).hexdigest()[:16]
        self.source, self.cache = source, cache
        self.folder = make_folder(cache.folder / word)
        self._copies = LocalStore(self.folder)
        self._sizes = source.sizes() or {}

    def read(self, name: str, start: int, stop: int) -> bytes:
        size = self._sizes.get(name, -1)
        if size > self.cache.num_bytes:  # it would be alone, and still too large
            return self.source.read(name, start, stop)
        path = self.folder / name
        if not self._is_there(path, size):
            self.folder.mkdir(parents=True, exist_ok=True)  # this may be another machine
            busy = f"another process is copying {name} to {self.folder}"
            with locked(self.folder / f".lock-{name}", busy=busy):
                if not self._is_there(path, size):
                    self._make_room(size)
                    with whole_path(path) as partial:
                        self.source.copy(name, partial)
        with suppress(OSError):
            os.utime(path)  # by which it is known what was used last
        return self._copies.read(name, start, stop)

    def copy(self, name: str, path: Path) -> None:
        self.source.copy(name, path)

    def sizes(self) -> dict[str, int] | None:
        return self._sizes or self.source.sizes()

    def stamp(self, name: str) -> str | None:
        return self.source.stamp(name)

    @staticmethod
    def _is_there(path: Path, size: int) -> bool:
        try:
            return size in (-1, path.stat().st_size)
        except FileNotFoundError:
            return False

    def _make_room(self, size: int) -> None:
        """Remove copies until there is room for so many bytes."""
        assert self.cache.folder is not None
        copies = []
        for path in self.cache.folder.glob("*/[!.]*.tar"):
            with suppress(FileNotFoundError):  # another process makes room, too
                status = path.stat()
                copies.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in copies) + max(size, 0)
        for _, taken, path in sorted(copies):
            if total <= self.cache.num_bytes:
                return
            with suppress(OSError):  # Windows lets nobody remove what is open
                path.unlink()
                total -= taken
