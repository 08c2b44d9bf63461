#!/usr/bin/env bash
# A batch that makes training data, film by film. Copy it, put your films in, and run it from the project's folder.
# Running it again finishes what is missing. Films for eval/ must be others than those for train/.
# A film that fails or gives no records stops none of the others; the end says which.

TRAIN=./data/video_inpaint_v1/train/
EVAL=./data/video_inpaint_v1/eval/
FAILED=()

make_records() {
    python create_training_data.py video_inpaint --dataset-dir "$@"
    local code=$?
    if [ $code -eq 130 ]; then exit 130; fi  # Ctrl-C
    if [ $code -ne 0 ]; then FAILED+=("$1"); fi
}

make_records videos/shibuya.webm -o $TRAIN --prefix shibuy1 --model-type Any_B
make_records videos/shibuya.webm -o $TRAIN --prefix shibuy2 --model-type Any_L --resolution 518 --skip-first 16
make_records videos/factory.mp4 -o $TRAIN --prefix factory --model-type Any_V2_S --skip-interval 120
make_records videos/short_clips/ -o $TRAIN --prefix clips --model-type Distill_Any_S --skip-interval 0 --num-samples 2

make_records videos/beach.mp4 -o $EVAL --prefix beach --model-type Any_B

if [ ${#FAILED[@]} -gt 0 ]; then
    echo "not all records were made of: ${FAILED[*]}; the reasons are above" >&2
    exit 1
fi
