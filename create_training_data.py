"""Make training data from video: python create_training_data.py video_inpaint -h"""

from inpaint.commands import CREATE_TRAINING_DATA
from nunif.cli import main

if __name__ == "__main__":
    main(CREATE_TRAINING_DATA)
