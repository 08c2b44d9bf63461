"""Released model files that `--checkpoint-file` knows by name.

The address of iw3's video net is the one that iw3 itself loads it from (nagadomi/nunif,
iw3/inpaint_utils.py). DSTT's published weights lie behind a web page (Google Drive) and have no
address of this kind: fetch `dstt.pth` by hand.
"""

RELEASES = {
    "iw3_light_video_inpaint_v1": (
        "https://github.com/nagadomi/nunif/releases/download/0.0.0/iw3_light_video_inpaint_v1_20250919.pth"
    ),
}
