"""Train a model: python train.py inpaint -h"""

from character.commands import TRAIN as CHARACTER
from inpaint.commands import TRAIN as INPAINT
from matting.commands import TRAIN as MATTING
from nunif.cli import main

if __name__ == "__main__":
    main([*INPAINT, *MATTING, *CHARACTER])
