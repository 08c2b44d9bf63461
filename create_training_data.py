"""Make training data from video: python create_training_data.py video_inpaint -h"""

from inpaint.commands import CREATE_TRAINING_DATA as INPAINT
from layers.commands import CREATE_TRAINING_DATA as LAYERS
from matting.commands import CREATE_TRAINING_DATA as MATTING
from nunif.cli import main
from nunif.shards.commands import CREATE_TRAINING_DATA as RECORDS

if __name__ == "__main__":
    main([*INPAINT, *MATTING, *LAYERS, *RECORDS])
