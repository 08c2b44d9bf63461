"""The options of `python -m layers studio`. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from nunif.errors import UserError
from nunif.options import option

HOST = "127.0.0.1"  # nothing outside this machine reaches the page


@dataclass(frozen=True)
class StudioOptions:
    """`python -m layers studio`."""

    film: Path | None = option(
        "film",
        default=None,
        help="a film, or a folder of films to choose from (default: the folder that you are in); "
        "the page sees nothing else",
    )
    input: Path | None = option("-i", "--input", default=None, help="the same, with a flag")
    model: tuple[Path, ...] = option(
        "-m",
        "--model",
        default=(),
        help="a model file (.pth) to choose beside those that come along; may be given several "
        "times",
    )
    port: int = option(
        default=0, minimum=0, maximum=65535, help="port of the page's address; 0: any free one"
    )
    browser: bool = option(
        "--no-browser", default=True, help="print the page's address, and don't open it"
    )
    max_upload: float = option(
        default=4.0, minimum=0.001, help="GB of a film that is dropped on the page, at most"
    )

    @property
    def place(self) -> Path:
        """The film, or the folder of films."""
        return self.film or self.input or Path(".")

    def check(self) -> None:
        if self.film is not None and self.input is not None:
            raise UserError(
                f"{self.film} and --input {self.input} are two films: name one, or a folder"
            )
        if not self.place.exists():
            raise UserError(f"{self.place} doesn't exist: check the path")
        for model in self.model:
            if not model.is_file():
                raise UserError(f"--model {model} is no file: check the path")
