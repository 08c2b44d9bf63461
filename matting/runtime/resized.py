"""A film at another size.

Axes: H W pixels, 3 = R G B.
"""

from collections.abc import Iterator
from dataclasses import replace

import cv2

from nunif.video.film import Film
from nunif.video.reader import Frame


class ResizedFilm:
    """Another film, scaled: as `Film`. Its frames have no planes of their own."""

    def __init__(self, film: Film, size: tuple[int, int]) -> None:
        """size: (height, width) in pixels."""
        self._film, self._size = film, size
        self.path, self.times, self.pts = film.path, film.times, film.pts
        self.durations, self.ends_early = film.durations, film.ends_early
        height, width = size
        # pixels that are no squares are made such
        self.info = replace(film.info, height=height, width=width, sample_aspect_ratio=None)

    @property
    def broken_at(self) -> float | None:
        return self._film.broken_at

    def __len__(self) -> int:
        return len(self._film)

    def __iter__(self) -> Iterator[Frame]:
        return map(self._resized, self._film)

    def frames(self, start: int, stop: int) -> Iterator[Frame]:
        return map(self._resized, self._film.frames(start, stop))

    def read(self, start: int, stop: int) -> list[Frame]:
        return list(map(self._resized, self._film.read(start, stop)))

    def forget(self, stop: int) -> None:
        self._film.forget(stop)

    def _resized(self, frame: Frame) -> Frame:
        height, width = self._size
        is_smaller = height * width < frame.rgb.shape[0] * frame.rgb.shape[1]
        how = cv2.INTER_AREA if is_smaller else cv2.INTER_LINEAR
        rgb = cv2.resize(frame.rgb, (width, height), interpolation=how)
        return replace(frame, rgb=rgb, picture=None)

    def __enter__(self) -> "ResizedFilm":
        return self

    def __exit__(self, *error: object) -> None:
        self._film.__exit__(*error)
