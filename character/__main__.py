"""python -m character COMMAND"""

from character.commands import CHARACTER
from nunif.cli import main

if __name__ == "__main__":
    main(CHARACTER, prog="python -m character")
