"""Tiny random networks in the pipelines that read exported films: nothing of them is learned, but
what they are given goes the way it goes in the large ones."""

import numpy as np
import torch
from PIL import Image

TEXT = 16  # length of a word's vector
_VAE = dict(
    base_dim=4,
    z_dim=16,
    dim_mult=[1, 1, 1, 1],
    num_res_blocks=1,
    temperal_downsample=[False, True, True],
)
_TRANSFORMER = dict(
    patch_size=(1, 2, 2),
    num_attention_heads=2,
    attention_head_dim=12,
    text_dim=TEXT,
    freq_dim=16,
    ffn_dim=32,
    num_layers=2,
    cross_attn_norm=True,
    qk_norm="rms_norm_across_heads",
    rope_max_seq_len=64,
)
_FACE = dict(
    motion_encoder_channel_sizes={"4": 8, "8": 8, "16": 8},
    motion_encoder_size=16,
    motion_style_dim=8,
    motion_dim=4,
    motion_encoder_dim=16,
    face_encoder_hidden_dim=16,
    face_encoder_num_heads=2,
    inject_face_latents_blocks=2,
)


def wan_animate():
    """A `WanAnimatePipeline`, and a list to which each call adds what its network is given."""
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanAnimatePipeline,
        WanAnimateTransformer3DModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    sees = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
        projection_dim=8,
    )
    pipeline = WanAnimatePipeline(
        tokenizer=None,
        text_encoder=None,
        vae=AutoencoderKLWan(**_VAE),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        image_processor=CLIPImageProcessor(crop_size=16, size=16),
        image_encoder=CLIPVisionModel(sees),
        transformer=WanAnimateTransformer3DModel(
            in_channels=36,
            latent_channels=16,
            out_channels=16,
            image_dim=8,
            **_TRANSFORMER,
            **_FACE,
        ),
    )
    return _watched(pipeline)


def wan_vace():
    """The same of `WanVACEPipeline`."""
    from diffusers import (
        AutoencoderKLWan,
        FlowMatchEulerDiscreteScheduler,
        WanVACEPipeline,
        WanVACETransformer3DModel,
    )

    torch.manual_seed(0)
    pipeline = WanVACEPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=AutoencoderKLWan(**_VAE),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        transformer=WanVACETransformer3DModel(
            in_channels=16,
            out_channels=16,
            vace_layers=[0],
            vace_in_channels=96,
            **_TRANSFORMER,
        ),
    )
    return _watched(pipeline)


def _watched(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    given = []

    def note(network, words, named):
        given.append({key: value for key, value in named.items() if torch.is_tensor(value)})

    pipeline.transformer.register_forward_pre_hook(note, with_kwargs=True)
    return pipeline, given


def generate(pipeline, **named):
    """Run one step: (T, H, W, 3) uint8."""
    made = pipeline(
        prompt_embeds=torch.ones(1, 4, TEXT),
        num_inference_steps=1,
        guidance_scale=1.0,
        generator=torch.Generator().manual_seed(0),
        output_type="np",
        **named,
    )
    return np.rint(np.asarray(made.frames[0]) * 255).astype(np.uint8)


def as_images(frames):
    """(T, H, W, 3) as the pipelines take films."""
    return [Image.fromarray(frame) for frame in frames]
