"""For torch.hub: torch.hub.load("OWNER/REPOSITORY", "fusion", checkpoint="model.pth");
"memory_dstt", "picture_memory"."""

dependencies = ["torch"]


def fusion(checkpoint=None, **kwargs):
    """The fusion net in evaluation mode: prediction, memory = model(frames, holes, memory).

    Args:
        checkpoint: a model file; None for fresh weights, which weigh by hand.
        kwargs: sizes, see inpaint.models.fusion.Fusion; without a checkpoint.

    Raises:
        nunif.errors.UserError: the file is missing, torn, or holds another model.
    """
    return _model("inpaint.fusion", checkpoint, "fusion_v1", kwargs)


def picture_memory(checkpoint=None):
    """The picture memory, which has no weights: prediction, memory = model(frames, holes, memory).

    Args:
        checkpoint: a model file; None for the same without one.

    Raises:
        nunif.errors.UserError: the file is missing, torn, or holds another model.
    """
    return _model("inpaint.picture_memory", checkpoint, "picture_memory_v1", {})


def memory_dstt(checkpoint=None, *, arch="memory_dstt_v1", **kwargs):
    """The memory DSTT in evaluation mode: prediction, memory = model(frames, holes, memory).

    Args:
        checkpoint: a model file; None for random weights, to be trained.
        arch: memory_dstt_v1, memory_dstt_v1_small or memory_dstt_v1_tiny, where there is no
            checkpoint.
        kwargs: sizes that differ from the arch's, see inpaint.models.memory_dstt.MemoryDSTT;
            without a checkpoint.

    Raises:
        nunif.errors.UserError: the file is missing, torn, or holds another model.
    """
    return _model("inpaint.memory_dstt", checkpoint, arch, kwargs)


def _model(kind, checkpoint, arch, kwargs):
    from nunif.models import create_model, load_model

    if checkpoint is not None:
        return load_model(checkpoint, expect=kind)[0]
    return create_model(f"inpaint.{arch}", **kwargs).eval()
