"""The network of RAM and RAM++: a Swin transformer, and a decoder with one query for each tag."""

from typing import Any

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

HEADS = 4
"""Attention heads of the published decoder; the shapes of its weights do not show them."""


class TagDecoderLayer(nn.Module):
    """One decoder layer of Query2Label (arXiv 2107.10834).

    Tags attend to the image but not to each other. Normalisation follows each block, as in BERT.

    Args:
        width: Number of channels D of a tag.
        image_width: Number of channels of an image token.
        hidden: Number of channels inside the feed-forward network.
    """

    def __init__(self, width: int, image_width: int, hidden: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(image_width, width)
        self.value = nn.Linear(image_width, width)
        self.attended = nn.Linear(width, width)
        self.attended_norm = nn.LayerNorm(width, eps=1e-12)
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, tags: Tensor, image: Tensor) -> Tensor:
        """Return the tags (B, C, D) after attention to image tokens (B, N, image_width)."""
        q, k, v = (
            y.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for y in (self.query(tags), self.key(image), self.value(image))
        )
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tags = self.attended_norm(self.attended(seen) + tags)
        return self.norm(self.outer(F.gelu(self.inner(tags))) + tags)


class RAM(nn.Module):
    """The tagging part of RAM (arXiv 2306.03514) and RAM++ (arXiv 2310.15200).

    RAM has one embedding for each tag. RAM++ has the embeddings of several descriptions of a tag,
    and mixes them for each image by their similarity to it.

    Args:
        swin: `embed_dim`, `depths`, `num_heads` and `window_size` of the image encoder.
        n_tags: Number of tags C.
        descriptions: Number of embeddings for each tag; 1 for RAM, more for RAM++.
        embed: Number of channels of the embeddings of tags and of the image.
        width: Number of channels of the decoder.
        hidden: Number of channels inside the feed-forward networks of the decoder.
        layers: Number of decoder layers.

    Attributes:
        image_size: Side of the square images of the network, in pixels.
    """

    def __init__(
        self,
        swin: dict[str, Any],
        n_tags: int,
        descriptions: int,
        embed: int,
        width: int,
        hidden: int,
        layers: int,
    ) -> None:
        super().__init__()
        # Swin has patches of 4 pixels and halves the resolution three times: with 32 pixels for
        # each position of a window, one window covers the whole last stage.
        self.image_size = 32 * swin["window_size"]
        self.visual_encoder = SwinTransformer(img_size=self.image_size, num_classes=0, **swin)
        self.image_proj = nn.Linear(self.visual_encoder.num_features, embed)
        self.label_embed = nn.Parameter(torch.zeros(n_tags * descriptions, embed))
        self.reweight_scale = nn.Parameter(torch.zeros(())) if descriptions > 1 else None
        self.wordvec_proj = nn.Linear(embed, width)
        self.decoder = nn.ModuleList(TagDecoderLayer(width, embed, hidden) for _ in range(layers))
        self.fc = nn.Linear(width, 1)
        self.n_tags = n_tags

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (B, C) of all tags.

        Args:
            image: Images (B, 3, S, S) with S = `image_size`, normalised by the mean and standard
                deviation of ImageNet.
        """
        patches = self.visual_encoder.forward_features(image).flatten(1, 2)
        tokens = self.image_proj(torch.cat([patches.mean(1, keepdim=True), patches], dim=1))
        labels = self.label_embed.unflatten(0, (self.n_tags, -1))
        if self.reweight_scale is None:
            mixed = labels[:, 0].expand(len(image), -1, -1)
        else:
            whole = F.normalize(tokens[:, 0], dim=-1)
            similarity = torch.einsum("be,cde->bcd", whole, labels)
            shares = (self.reweight_scale.exp() * similarity).softmax(-1)
            mixed = torch.einsum("bcd,cde->bce", shares, labels)
        tags = F.relu(self.wordvec_proj(mixed))
        for layer in self.decoder:
            tags = layer(tags, tokens)
        return self.fc(tags)[..., 0]
