"""Train a model: python train.py inpaint -h"""

from inpaint.commands import TRAIN
from nunif.cli import main

if __name__ == "__main__":
    main(TRAIN)
