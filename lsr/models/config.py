"""The configuration of a denoiser, which its model file holds next to the weights."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DenoiserConfig:
    """All settings that are needed to build a denoiser; model files hold them next to the weights.

    Attributes:
        scale: Upscaling factor.
        autoencoder: Folder, or name on the hub, of the deep compression autoencoder
            (`lsr.models.autoencoder_dc`) whose latents the flow generates. None generates the image
            itself, in patches.
        latent_channels: Channels of the latents of the autoencoder.
        latent_factor: Image pixels per latent position and axis of the autoencoder.
        patch_size: Image pixels per latent position and axis without an autoencoder.
        residual_std: Standard deviation of the residual, the difference between the latents of the
            image and of the bicubically upsampled LR image. The data x_0 are the residual divided
            by this number, so that they have about unit scale, which the density of the times
            assumes. 0 makes x_0 the latent of the image itself.
        prediction: Meaning of the output of the network, see `Denoiser.forward`: "velocity" is the
            velocity itself, "preconditioned" a correction to a linear estimate, for x_0 of unit
            scale.
        width: Channels of the transformer.
        depth: Number of blocks of the transformer.
        head_dim: Channels per head of the linear attention.
        cross_heads: Number of heads of the cross-attention.
        mlp_ratio: Expansion of the feed-forward.
        stem_width: Channels of the LR features.
        context_dim: Channels of the context of the cross-attention; 0 builds none.
        guidance: Kind of context, see `lsr.guidance.context`: "tags" and "words" learn embeddings
            with the denoiser, "text" and "visual" use a frozen encoder, "none" builds no
            cross-attention.
        vocabulary: Tags or words that have an embedding.
        guidance_encoder: Folder, or name on the hub, of the frozen encoder.
        qk_norm: Whether to RMS-normalise queries and keys.
        head_width: Channels of the convolutions that refine the prediction, see
            `lsr.nn.head.RefiningHead`; 0 builds none. Only without an autoencoder.
        head_depth: Number of residual blocks of these convolutions.

    Raises:
        ValueError: If the settings of the guidance contradict each other, or there is a head for
            latents.
    """

    scale: int = 4
    autoencoder: str | None = None
    latent_channels: int = 32
    latent_factor: int = 32
    patch_size: int = 8
    residual_std: float = 0.125
    prediction: Literal["preconditioned", "velocity"] = "preconditioned"
    width: int = 128
    depth: int = 4
    head_dim: int = 32
    cross_heads: int = 4
    mlp_ratio: float = 2.5
    stem_width: int = 64
    context_dim: int = 0
    guidance: Literal["none", "tags", "words", "text", "visual"] = "none"
    vocabulary: tuple[str, ...] = ()
    guidance_encoder: str | None = None
    qk_norm: bool = False
    head_width: int = 0
    head_depth: int = 3

    def __post_init__(self) -> None:
        object.__setattr__(self, "vocabulary", tuple(self.vocabulary))  # JSON and YAML have lists
        if self.guidance != "none" and not self.context_dim:
            raise ValueError(
                f"guidance: {self.guidance} needs context_dim, the channels of the context, above 0"
            )
        if (self.guidance in ("text", "visual")) != (self.guidance_encoder is not None):
            raise ValueError(
                f"guidance: {self.guidance} does not fit guidance_encoder: "
                f"{self.guidance_encoder}; text and visual need an encoder, all others have none"
            )
        if self.vocabulary and self.guidance not in ("tags", "words"):
            raise ValueError(f"a vocabulary needs guidance: tags or words, not {self.guidance}")
        if self.head_width and self.autoencoder is not None:
            raise ValueError("head_width: the head refines pixels; set 0 with an autoencoder")

    @property
    def takes_tags(self) -> bool:
        """Whether tags guide the model; visual guidance is computed from the photograph itself."""
        return self.guidance not in ("none", "visual")
