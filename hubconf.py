"""For torch.hub: model = torch.hub.load("OWNER/REPOSITORY", "memory_dstt", checkpoint="model.pth")."""

dependencies = ["torch"]


def memory_dstt(checkpoint=None, *, arch="memory_dstt_v1", **kwargs):
    """The memory DSTT in evaluation mode: prediction, memory = model(frames, holes, memory).

    Args:
        checkpoint: a model file; None for random weights, to be trained.
        arch: memory_dstt_v1, memory_dstt_v1_small or memory_dstt_v1_tiny, where there is no checkpoint.
        kwargs: sizes that differ from the arch's, see inpaint.models.memory_dstt.MemoryDSTT; without a checkpoint.

    Raises:
        nunif.errors.UserError: the file is missing, torn, or holds another model.
    """
    from nunif.models import create_model, load_model

    if checkpoint is not None:
        return load_model(checkpoint, expect="inpaint.memory_dstt")[0]
    return create_model(f"inpaint.{arch}", **kwargs).eval()
