"""The tables of commands. Nothing here imports torch."""

from inpaint import options_data, options_evaluate, options_run, options_train
from nunif.cli import Command
from nunif.runtime import options as options_runtime

CREATE_TRAINING_DATA = [
    Command(
        "video_inpaint",
        options_data.GenerateOptions,
        "inpaint.generate:main",
        "make training records for video inpainting from ordinary video",
    ),
    Command(
        "frames",
        options_data.FramesOptions,
        "inpaint.generate_frames:main",
        "make records without masks from frames or video",
    ),
    Command(
        "inpaint",
        options_data.ImagesOptions,
        "inpaint.generate_images:main",
        "make records of single pictures with masks",
    ),
]

TRAIN = [
    Command(
        "inpaint", options_train.TrainOptions, "inpaint.train:main", "train an inpainting model"
    )
]

INPAINT = [
    Command(
        "apply", options_run.ApplyOptions, "inpaint.runtime.apply:main", "fill the holes of a film"
    ),
    Command(
        "stereo",
        options_run.StereoOptions,
        "inpaint.runtime.stereo:main",
        "turn a film into stereo 3D",
    ),
    Command(
        "export",
        options_runtime.ExportOptions,
        "inpaint.export:main",
        "write a model as ONNX, TensorRT or torch.export, checked",
    ),
    Command(
        "evaluate",
        options_evaluate.EvaluateOptions,
        "inpaint.evaluate:main",
        "score models and classical fills on films or records",
    ),
    Command(
        "checkpoint",
        options_runtime.CheckpointOptions,
        "inpaint.checkpoint:main",
        "show what a model file holds, or convert it",
    ),
    Command(
        "contact-sheet",
        options_data.ContactSheetOptions,
        "inpaint.contact_sheet:main",
        "show records in one picture",
    ),
    Command(
        "sample-video",
        options_data.SampleVideoOptions,
        "inpaint.sample_video:main",
        "render a clip to try things on",
    ),
    Command(
        "demo", options_run.DemoOptions, "inpaint.demo:main", "run the whole main job on one video"
    ),
]
