"""python -m layers COMMAND"""

from layers.commands import LAYERS
from nunif.cli import main

if __name__ == "__main__":
    main(LAYERS, prog="python -m layers")
