"""Which model a run trains."""

from pathlib import Path

from nunif.errors import UserError
from nunif.models import read_checkpoint
from nunif.training.start import CHECKPOINT_SUFFIX


def choose_arch(
    arch: str | None,
    checkpoint_file: Path | str | None,
    resumed: Path | None = None,
    *,
    package: str,
    purpose: str,
    default: str,
) -> str:
    """The full name of the model: as asked for, or that of the file to start from, or the default.

    Args:
        arch, default: "memory_dstt_v1" or "inpaint.memory_dstt_v1".
        resumed: the folder of a run that goes on; where it holds one checkpoint, that tells the
            model.
        package: what must stand before the dot. purpose: of its models, for messages.
    Raises:
        UserError: the file holds a model of another package.
    """
    if arch is not None:
        return full_name(arch, package)
    if checkpoint_file is not None:
        name = read_checkpoint(checkpoint_file, package=package)["name"]
        if not name.startswith(f"{package}."):
            raise UserError(
                f"{checkpoint_file} holds the model {name!r}, which is not one for {purpose}"
            )
        return name
    # without a dot, with which partial ones start
    paths = list(resumed.glob(f"[!.]*{CHECKPOINT_SUFFIX}")) if resumed else []
    names = [path.name.removesuffix(CHECKPOINT_SUFFIX) for path in paths]
    return names[0] if len(names) == 1 else full_name(default, package)


def full_name(arch: str, package: str) -> str:
    """ "memory_dstt_v1" -> "inpaint.memory_dstt_v1"; full names stay as they are."""
    return arch if arch.startswith(f"{package}.") else f"{package}.{arch}"
