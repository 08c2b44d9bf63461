"""For torch.hub: torch.hub.load("OWNER/REPOSITORY", "fusion", checkpoint="model.pth");
"memory_dstt", "picture_memory". For matting: "efficientnet_rvm", which has published weights,
"mobileone_rvm", "mamba_rvm", "rvm_mobilenetv3" and "rvm_resnet50", and "converter" for whole
films."""

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


def efficientnet_rvm(pretrained=False, checkpoint=None, **kwargs):
    """The matting network over EfficientNet-Lite0 in evaluation mode:
    foreground, alpha, *states = model(frames, *states, downsample_ratio=0.25), the states None at
    the start.

    Args:
        pretrained: the released weights, pretrained_models/person_matte_v1.pth; the card beside
            them says what they are worth.
        checkpoint: a model file of yours instead; without both random weights, to be trained.
        kwargs: what differs from the arch's, see matting.MattingNetwork; with random weights.

    Raises:
        nunif.errors.UserError: both are asked for; the released weights with `kwargs`; the file is
            missing, torn, or holds another model.
    """
    if not pretrained:
        return _matting("efficientnet_lite0", False, checkpoint, "efficientnet_lite0", kwargs)
    from matting.runtime.person_finder import RELEASED_FOLDER, check_released
    from nunif.errors import UserError

    if checkpoint is not None:
        raise UserError(
            f"pretrained=True and checkpoint={checkpoint!r} both name weights: leave one out"
        )
    if kwargs:
        raise UserError(
            f"pretrained=True: the released weights are of one network, so {min(kwargs)}= can't be "
            "changed: leave it out, or leave pretrained out"
        )
    released = RELEASED_FOLDER / "person_matte_v1.pth"
    check_released(released)
    return _model("matting.efficientnet_lite0", released, "efficientnet_lite0", kwargs)


def mobileone_rvm(pretrained=False, checkpoint=None, *, arch="mobileone_s0", **kwargs):
    """The matting network over MobileOne in evaluation mode:
    foreground, alpha, *states = model(frames, *states, downsample_ratio=0.25), the states None at
    the start.

    Args:
        pretrained: none of these has published weights: True is an error.
        checkpoint: a model file; None for random weights, to be trained.
        arch: mobileone_s0 or mobileone_s1, or one of them with _small or _fast behind it, where
            there is no checkpoint.
        kwargs: what differs from the arch's, see matting.MattingNetwork; without a checkpoint.

    Raises:
        nunif.errors.UserError: pretrained; the file is missing, torn, or holds another model.
    """
    return _matting("mobileone", pretrained, checkpoint, arch, kwargs)


def mamba_rvm(pretrained=False, checkpoint=None, **kwargs):
    """The matting network over MobileOne with blocks that scan the picture; see mobileone_rvm."""
    return _matting("mamba", pretrained, checkpoint, "mamba_s0", kwargs)


def rvm_mobilenetv3(pretrained=False, checkpoint=None, **kwargs):
    """The network of Robust Video Matting over MobileNetV3; see mobileone_rvm. Its own files are
    checkpoints too: rvm_mobilenetv3.pth (GPL-3.0)."""
    return _matting("mobilenetv3", pretrained, checkpoint, "mobilenetv3", kwargs)


def rvm_resnet50(pretrained=False, checkpoint=None, **kwargs):
    """The network of Robust Video Matting over ResNet-50; see mobileone_rvm. Its own files are
    checkpoints too: rvm_resnet50.pth (GPL-3.0)."""
    return _matting("resnet50", pretrained, checkpoint, "resnet50", kwargs)


def converter():
    """matting.convert_video, which cuts the people out of a whole film."""
    from matting import convert_video

    return convert_video


def _matting(kind, pretrained, checkpoint, arch, kwargs):
    from nunif.errors import UserError

    if pretrained:
        raise UserError(
            f"pretrained=True: there are no published weights of {arch}: give a model file of "
            "yours as checkpoint=FILE, leave pretrained out for random weights, to be trained, or "
            "take efficientnet_rvm, which has some"
        )
    return _model(f"matting.{kind}", checkpoint, arch, kwargs, package="matting")


def _model(kind, checkpoint, arch, kwargs, *, package="inpaint"):
    from nunif.models import create_model, load_model

    if checkpoint is not None:
        return load_model(checkpoint, expect=kind)[0]
    return create_model(f"{package}.{arch}", **kwargs).eval()
