"""Options of all commands that read films."""

from nunif.options import option

FPS_HELP = "frames per second of a folder of pictures, as 23.976 or 30000/1001 (default: 24)"


def deinterlace_option() -> bool:
    """The option of all commands that read films."""
    return option(
        default=False,
        help="make whole pictures of interlaced films, by bwdif; without it they are refused",
    )
