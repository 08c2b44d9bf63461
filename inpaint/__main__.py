"""python -m inpaint COMMAND"""

from inpaint.commands import INPAINT
from nunif.cli import main

if __name__ == "__main__":
    main(INPAINT, prog="python -m inpaint")
