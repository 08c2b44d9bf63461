"""The tables of commands. Nothing here imports torch."""

from inpaint import options
from nunif.cli import Command

CREATE_TRAINING_DATA = [
    Command(
        "video_inpaint",
        options.GenerateOptions,
        "inpaint.generate:main",
        "make training records for video inpainting from ordinary video",
    ),
    Command("frames", options.FramesOptions, "inpaint.generate_frames:main", "make records without masks from frames or video"),
    Command("inpaint", options.ImagesOptions, "inpaint.generate_images:main", "make records of single pictures with masks"),
]

TRAIN = [Command("inpaint", options.TrainOptions, "inpaint.trainer:main", "train an inpainting model")]

INPAINT = [
    Command("apply", options.ApplyOptions, "inpaint.runtime.apply:main", "fill the holes of a film"),
    Command("stereo", options.StereoOptions, "inpaint.runtime.stereo:main", "turn a film into stereo 3D"),
    Command("export", options.ExportOptions, "inpaint.export:main", "write a model as ONNX, TensorRT or torch.export, checked"),
    Command(
        "evaluate", options.EvaluateOptions, "inpaint.evaluate:main", "score models and classical fills on films or records"
    ),
    Command("checkpoint", options.CheckpointOptions, "inpaint.checkpoint:main", "show what a model file holds, or convert it"),
    Command("contact-sheet", options.ContactSheetOptions, "inpaint.contact_sheet:main", "show records in one picture"),
    Command("sample-video", options.SampleVideoOptions, "inpaint.sample_video:main", "render a clip to try things on"),
    Command("demo", options.DemoOptions, "inpaint.demo:main", "run the whole main job on one video"),
]
