"""The network of RAM and RAM++: a Swin transformer, and a decoder that asks it about every tag."""

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformer
from torch import Tensor, nn

HEADS = 4  # of the decoder; its weights do not tell


class TagDecoderLayer(nn.Module):
    """One layer of Query2Label (arXiv 2107.10834): tags attend to the image, not to each other. BERT's order: norms come last.

    Args:
        width: Channels D of a tag.
        image_width: Channels of an image token.
        hidden: Channels inside the feed-forward.
    """

    def __init__(self, width: int, image_width: int, hidden: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (
            nn.Linear(width, width),
            nn.Linear(image_width, width),
            nn.Linear(image_width, width),
        )
        self.attended, self.attended_norm = nn.Linear(width, width), nn.LayerNorm(width, eps=1e-12)
        self.inner, self.outer, self.norm = (
            nn.Linear(width, hidden),
            nn.Linear(hidden, width),
            nn.LayerNorm(width, eps=1e-12),
        )

    def forward(self, tags: Tensor, image: Tensor) -> Tensor:
        """Map tags (B, C, D), after a look at image tokens (B, N, image_width), to (B, C, D)."""
        q, k, v = (
            y.unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for y in (self.query(tags), self.key(image), self.value(image))
        )
        seen = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        tags = self.attended_norm(self.attended(seen) + tags)
        return self.norm(self.outer(F.gelu(self.inner(tags))) + tags)


class RAM(nn.Module):
    """Recognize Anything (arXiv 2306.03514), and RAM++ (arXiv 2310.15200), as far as tagging needs them.

    RAM has one embedding per tag. RAM++ has several, of descriptions, of which each image takes its own mixture.

    Args:
        swin: `embed_dim`, `depths`, `num_heads` and `window_size` of the image encoder.
        n_tags: Tags C.
        descriptions: Embeddings per tag; 1 is RAM, above is RAM++.
        embed: Channels of the embeddings of tags and of the image.
        width: Channels of the decoder.
        hidden: Channels inside its feed-forward.
        layers: Its layers.
    """

    def __init__(
        self,
        swin: dict[str, int | tuple[int, ...]],
        n_tags: int,
        descriptions: int,
        embed: int,
        width: int,
        hidden: int,
        layers: int,
    ) -> None:
        super().__init__()
        self.image_size = 32 * int(swin["window_size"])  # pyright: ignore[reportArgumentType]
        self.visual_encoder = SwinTransformer(img_size=self.image_size, num_classes=0, **swin)  # pyright: ignore[reportArgumentType]
        self.image_proj = nn.Linear(self.visual_encoder.num_features, embed)
        self.label_embed = nn.Parameter(torch.zeros(n_tags * descriptions, embed))
        self.reweight_scale = nn.Parameter(torch.zeros(())) if descriptions > 1 else None
        self.wordvec_proj = nn.Linear(embed, width)
        self.decoder = nn.ModuleList(TagDecoderLayer(width, embed, hidden) for _ in range(layers))
        self.fc = nn.Linear(width, 1)
        self.n_tags = n_tags

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (B, C) of every tag for images (B, 3, S, S), normalised as for ImageNet, S = `image_size`."""
        patches = self.visual_encoder.forward_features(image).flatten(1, 2)
        tokens = self.image_proj(torch.cat([patches.mean(1, keepdim=True), patches], dim=1))
        labels = self.label_embed.unflatten(0, (self.n_tags, -1))
        if self.reweight_scale is None:
            mixed = labels[:, 0].expand(len(image), -1, -1)
        else:
            whole = F.normalize(tokens[:, 0], dim=-1)
            shares = (
                self.reweight_scale.exp() * torch.einsum("be,cde->bcd", whole, labels)
            ).softmax(-1)
            mixed = torch.einsum("bcd,cde->bce", shares, labels)
        tags = F.relu(self.wordvec_proj(mixed))
        for layer in self.decoder:
            tags = layer(tags, tokens)
        return self.fc(tags)[..., 0]
