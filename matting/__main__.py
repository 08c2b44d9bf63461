"""python -m matting COMMAND"""

from matting.commands import MATTING
from nunif.cli import main

if __name__ == "__main__":
    main(MATTING, prog="python -m matting")
