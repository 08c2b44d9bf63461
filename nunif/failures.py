"""Work on several sources, of which one that fails does not keep the others from being finished."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from nunif.errors import OutputError, UserError

logger = logging.getLogger(__name__)


class Failures:
    """Counts sources that failed, of `total`."""

    def __init__(self, total: int) -> None:
        self.total, self.count = total, 0
        self._names: list[str] = []

    @contextmanager
    def log(self, name: str = "") -> Iterator[None]:
        """Work on one source. name: for the end, where those that failed are named.

        Raises:
            UserError: it failed and is the only one; where there are others it is logged.
            OutputError: what is made can't be put where it should go.
        """
        try:
            yield
        except OutputError:
            raise
        except UserError as error:
            if self.total == 1:
                raise
            logger.error("error: %s", error)
            self.count += 1
            self._names += [name] * bool(name)

    def raise_if_any(self, what: str) -> None:
        """After all the work. what: the sources, such as "videos".

        Raises:
            UserError: some failed.
        """
        if self.count:
            names = f" ({', '.join(self._names)})" if self._names else ""
            raise UserError(
                f"{self.count} of {self.total} {what} failed{names}; the others are finished"
            )
