"""The decoder that puts a person, a movement and a scene together: MIMO's (Men et al., arXiv
2409.16160), with networks of diffusers.

Three codes steer it. Identity: tokens of a reference network, seen by the self-attention of the
decoder, and a vector of CLIP. Movement: a picture of a body with a code for every place of its
skin, added after the first convolution. Scene: what is behind the person, and in some presets what
is in front, as latents beside the noise.

Axes: B clips, T frames, H W pixels, h w places of a latent, c its channels, d of CLIP's vector.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from character.models.codecs import CODECS
from character.models.identity import build_encoder
from character.models.pieces import add_pose, add_reference, behind_last_site, norm_per_frame
from character.models.pose import Pose, PoseGuider, SkinCodes, Stance, Surface
from character.models.unets import UNetSizes, build_denoiser, build_reference
from character.noise import TARGETS, NoiseSchedule
from nunif.errors import UserError
from nunif.models import Model

Bank = dict[str, Tensor]  # what the reference network leaves, by the names of the sites
MOTIONS = ("codes", "colours")


class CharacterNetwork(Model):
    """A noisy clip and its codes in, a prediction of the clip out.

    denoiser: diffusers' `UNetMotionModel`. reference_net: its `UNet2DConditionModel`. pose_guider,
    skin: see `character.models.pose`. codec, image_encoder: frozen. sites: names of the places
    where the denoiser looks at what the reference network leaves.

    It holds no state: what the reference network leaves is handed on by the caller.

    Args:
        widths, layers, groups, heads: of both UNets. cross: d.
        codec: "dct" or "kl"; codec_sizes: what it is built with.
        guider: widths of the pose guider, whose first channels are `pose_channels`.
        image_encoder: see `character.models.identity.build_encoder`.
        size, frames: pixels of a side and length of the clips that it is trained with.
        positions: the most frames of one call.
        occlusion: whether what is in front comes in beside the scene.
        frame_norm: motion modules normalise every frame by itself.
        all_cross: the coarsest level has attention too.
        motion: "codes", learned with the rest, or "colours", fixed.
        target: what it predicts, see `character.noise`. zero_snr: of its schedule.
        scene_skip: the prediction is the difference from the scene's latents.
        stance: the reference network gets a body too, as it stands in portraits of the world: its
            tokens say of which place of the skin they are, in the same codes as the decoder's.

    Raises, when it is built:
        UserError: diffusers is not installed; the target can't go with the schedule.
        ValueError: an unknown name.
    """

    any_clip_length = True

    def __init__(
        self,
        *,
        widths: Sequence[int],
        layers: int,
        groups: int,
        heads: int,
        cross: int,
        codec: str,
        guider: Sequence[int],
        pose_channels: int,
        image_encoder: Mapping[str, int],
        size: int,
        frames: int,
        positions: int = 32,
        occlusion: bool = True,
        frame_norm: bool = True,
        all_cross: bool = False,
        codec_sizes: Mapping[str, Any] | None = None,
        motion: str = "codes",
        target: str = "v",
        zero_snr: bool = True,
        scene_skip: bool = False,
        stance: bool = False,
    ) -> None:
        super().__init__()
        named = {"codec": (codec, CODECS), "motion": (motion, MOTIONS), "target": (target, TARGETS)}
        for word, (value, known) in named.items():
            if value not in known:
                raise ValueError(f"unknown {word} {value!r}: known are {', '.join(known)}")
        require_diffusers()
        self.schedule = NoiseSchedule(target=target, zero_snr=zero_snr)
        self.codec = CODECS[codec](**(codec_sizes or {})).requires_grad_(False)
        self._add_unets(
            UNetSizes(tuple(widths), layers, groups, heads, cross, all_cross),
            num_latents=3 if occlusion else 2,
            positions=positions,
            frame_norm=frame_norm,
        )
        self.skin = SkinCodes(pose_channels, learned=motion == "codes")
        self.pose_guider = PoseGuider(pose_channels, tuple(guider), widths[0])
        self.image_encoder = build_encoder(image_encoder).requires_grad_(False)
        self.clip_length, self.size, self.positions = frames, size, positions
        self.size_multiple = self.codec.factor * 2 ** (len(widths) - 1)
        self.has_occlusion, self.scene_skip = occlusion, scene_skip
        self.stance = Stance(size) if stance else None
        if stance:
            add_pose(self.reference_net)

    def _add_unets(
        self, sizes: UNetSizes, *, num_latents: int, positions: int, frame_norm: bool
    ) -> None:
        """num_latents: how many latents come in beside one another."""
        channels = self.codec.channels
        self.denoiser: Any = build_denoiser(num_latents * channels, channels, positions, sizes)
        self.reference_net: Any = build_reference(channels, sizes)
        self.sites = add_reference(self.denoiser)
        assert self.sites == add_reference(self.reference_net)
        add_pose(self.denoiser)
        self.num_frame_norms = norm_per_frame(self.denoiser) if frame_norm else 0
        unused = behind_last_site(self.reference_net)
        for name, parameter in self.reference_net.named_parameters():
            parameter.requires_grad_(name not in unused)

    def train(self, mode: bool = True) -> "CharacterNetwork":
        """What is frozen stays in evaluation mode."""
        super().train(mode)
        self.codec.eval()
        self.image_encoder.eval()
        return self

    @torch.no_grad()
    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), or clips (B, 3, T, H, W), in [-1, 1] as latents (B, c, .., h, w),
        of a spread near 1."""
        return _by_picture(self.codec.encode, pictures)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """What `encode` gives as pictures, cut off at [-1, 1]."""
        return _by_picture(self.codec.decode, latents).clamp(-1, 1)

    @torch.no_grad()
    def embed(self, pictures: Tensor) -> Tensor:
        """CLIP's vector of pictures (B, 3, H, W) in [-1, 1], of any size: (B, 1, d)."""
        return self.image_encoder(pictures)

    def reference(self, identity: Tensor, embedding: Tensor) -> Bank:
        """What the reference network leaves of a person, once for a whole film.

        identity: latents (B, c, h, w) of a picture of the person. embedding: (B, 1, d), see
        `embed`.
        """
        bank: Bank = {}
        if self.stance is not None:
            features = self.guide(self.stance())[:, :, 0]  # (1, widths[0], h, w)
            if features.shape[-2:] != identity.shape[-2:]:
                features = F.interpolate(features, identity.shape[-2:])
            features = features.to(identity.dtype).expand(len(identity), -1, -1, -1)
            identity = torch.cat([identity, features], dim=1)
        self.reference_net(
            identity, 0, encoder_hidden_states=embedding, cross_attention_kwargs={"write": bank}
        )
        return bank

    def guide(self, pose: Pose) -> Tensor:
        """Features (B, widths[0], T, h, w) of a body: a picture (B, C, T, H, W), or a rasterised
        one that is painted with the skin's codes first."""
        return self.pose_guider(self.skin(pose) if isinstance(pose, Surface) else pose)

    def denoise(
        self,
        noisy: Tensor,
        timestep: Tensor | int,
        *,
        scene: Tensor,
        features: Tensor,
        embedding: Tensor,
        bank: Mapping[str, Tensor],
        occlusion: Tensor | None = None,
        use: Tensor | None = None,
    ) -> Tensor:
        """The prediction (B, c, T, h, w) of what `schedule.target` says.

        Args:
            noisy: latents (B, c, T, h, w). timestep: (B,) or one number, from 0 to 999.
            scene, occlusion: latents, of the same size; occlusion None: nothing is in front, where
                the preset has it at all.
            features: see `guide`. embedding: (B, 1, d). bank: see `reference`.
            use: (B,) bool, the clips for which the identity is known; for the others the embedding
                is 0 and nothing of the bank is seen. None: all of them.
        """
        b, _, t = noisy.shape[:3]
        parts = [noisy, scene]
        if self.has_occlusion:
            parts.append(torch.zeros_like(noisy) if occlusion is None else occlusion)
        if use is not None:
            embedding = torch.where(use[:, None, None], embedding, 0)
        result = self.denoiser(
            torch.cat([*parts, features], dim=1),
            timestep,
            encoder_hidden_states=embedding.repeat_interleave(t, dim=0),  # (B T, 1, d)
            cross_attention_kwargs={"read": bank, "use": use},
        ).sample
        return result + scene if self.scene_skip else result

    def forward(
        self,
        noisy: Tensor,
        timestep: Tensor | int,
        *,
        scene: Tensor,
        pose: Pose,
        embedding: Tensor,
        identity: Tensor | None = None,
        bank: Mapping[str, Tensor] | None = None,
        occlusion: Tensor | None = None,
        use: Tensor | None = None,
    ) -> Tensor:
        """All of it in one call, as training needs it. See `denoise`; of the identity either the
        latents or the bank that `reference` made of them."""
        assert (identity is None) != (bank is None), "either identity or bank"
        if bank is None:
            assert identity is not None
            bank = self.reference(identity, embedding)
        return self.denoise(
            noisy,
            timestep,
            scene=scene,
            features=self.guide(pose),
            embedding=embedding,
            bank=bank,
            occlusion=occlusion,
            use=use,
        )


def _by_picture(function: Any, clips: Tensor) -> Tensor:
    """A function of pictures (N, ., ., .) for clips (B, ., T, ., .) too."""
    if clips.dim() == 4:
        return function(clips)
    frames = function(clips.transpose(1, 2).flatten(0, 1))
    return frames.unflatten(0, (clips.shape[0], -1)).transpose(1, 2)


def require_diffusers() -> None:
    """Raises UserError: diffusers is not installed."""
    try:
        import diffusers  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"models of character need the package diffusers ({error}): pip install '.[character]'"
        ) from error


def count(module: nn.Module) -> int:
    """How many numbers a module's parameters hold."""
    return sum(parameter.numel() for parameter in module.parameters())
