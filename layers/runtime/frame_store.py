"""Pictures of one size kept on the disk, so that a shot of any length can be gone through
backwards."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from nunif.files import explain_os_errors


class FrameStore:
    """Pictures in order, in a file that is gone with the block. Use as a context manager."""

    def __init__(self) -> None:
        self._where = Path(tempfile.gettempdir())
        with explain_os_errors(self._where):
            self._file = tempfile.TemporaryFile()
        self._shape: tuple[int, ...] = ()
        self._count = 0

    def __enter__(self) -> "FrameStore":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return self._count

    def append(self, picture: np.ndarray) -> None:
        """uint8, of the first one's shape."""
        self._shape = self._shape or picture.shape
        assert picture.dtype == np.uint8 and picture.shape == self._shape
        with explain_os_errors(self._where):
            self._file.seek(self._count * picture.size)
            self._file.write(np.ascontiguousarray(picture).data)
        self._count += 1

    def __setitem__(self, index: int, picture: np.ndarray) -> None:
        """In place of one that is there."""
        assert 0 <= index < self._count
        assert picture.dtype == np.uint8 and picture.shape == self._shape
        with explain_os_errors(self._where):
            self._file.seek(index * picture.size)
            self._file.write(np.ascontiguousarray(picture).data)

    def __getitem__(self, index: int) -> np.ndarray:
        if not 0 <= index < self._count:
            raise IndexError(index)
        size = int(np.prod(self._shape))
        self._file.seek(index * size)
        return np.frombuffer(self._file.read(size), np.uint8).reshape(self._shape)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(self._count))
