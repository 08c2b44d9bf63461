#!/usr/bin/env bash
# A batch that makes training data, film by film. Copy it, put your films in, and run it from the project's folder.
# Running it again finishes what is missing. Films for eval/ must be others than those for train/.
set -e

TRAIN=./data/video_inpaint_v1/train/
EVAL=./data/video_inpaint_v1/eval/

python create_training_data.py video_inpaint --dataset-dir videos/shibuya.webm -o $TRAIN --prefix shibuy1 --model-type Any_B
python create_training_data.py video_inpaint --dataset-dir videos/shibuya.webm -o $TRAIN --prefix shibuy2 --model-type Any_L --resolution 518 --skip-first 16
python create_training_data.py video_inpaint --dataset-dir videos/factory.mp4 -o $TRAIN --prefix factory --model-type Any_V2_S --skip-interval 120
python create_training_data.py video_inpaint --dataset-dir videos/short_clips/ -o $TRAIN --prefix clips --model-type Distill_Any_S --skip-interval 0 --num-samples 2

python create_training_data.py video_inpaint --dataset-dir videos/beach.mp4 -o $EVAL --prefix beach --model-type Any_B
