"""Weights of SANA's transformer under other people's names: diffusers' and NVlabs', and ours.

Names and shapes: `SanaTransformer2DModel` of diffusers and `SanaMS` of NVlabs/Sana. Ours has one matrix for q, k and v, one for the
context's k and v, and linear layers where theirs are 1x1 convolutions.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Layout = Literal["diffusers", "nvlabs"]

_OUTER: dict[str, dict[Layout, tuple[str, ...]]] = {
    "embed": {"diffusers": ("patch_embed.proj",), "nvlabs": ("x_embedder.proj",)},
    "time_embedding.mlp.0": {
        "diffusers": ("time_embed.emb.timestep_embedder.linear_1",),
        "nvlabs": ("t_embedder.mlp.0",),
    },
    "time_embedding.mlp.2": {
        "diffusers": ("time_embed.emb.timestep_embedder.linear_2",),
        "nvlabs": ("t_embedder.mlp.2",),
    },
    "time_modulation": {"diffusers": ("time_embed.linear",), "nvlabs": ("t_block.1",)},
    "context_embedding.mlp.0": {
        "diffusers": ("caption_projection.linear_1",),
        "nvlabs": ("y_embedder.y_proj.fc1",),
    },
    "context_embedding.mlp.2": {
        "diffusers": ("caption_projection.linear_2",),
        "nvlabs": ("y_embedder.y_proj.fc2",),
    },
    "context_embedding.norm": {"diffusers": ("caption_norm",), "nvlabs": ("attention_y_norm",)},
    "out": {"diffusers": ("proj_out",), "nvlabs": ("final_layer.linear",)},
    "": {"diffusers": ("",), "nvlabs": ("final_layer",)},
}
_BLOCK: dict[str, dict[Layout, tuple[str, ...]]] = {
    "attention.qkv": {
        "diffusers": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
        "nvlabs": ("attn.qkv",),
    },
    "attention.out": {"diffusers": ("attn1.to_out.0",), "nvlabs": ("attn.proj",)},
    "attention.norm_q": {"diffusers": ("attn1.norm_q",), "nvlabs": ("attn.q_norm",)},
    "attention.norm_k": {"diffusers": ("attn1.norm_k",), "nvlabs": ("attn.k_norm",)},
    "cross_attention.q": {"diffusers": ("attn2.to_q",), "nvlabs": ("cross_attn.q_linear",)},
    "cross_attention.kv": {
        "diffusers": ("attn2.to_k", "attn2.to_v"),
        "nvlabs": ("cross_attn.kv_linear",),
    },
    "cross_attention.out": {"diffusers": ("attn2.to_out.0",), "nvlabs": ("cross_attn.proj",)},
    "cross_attention.norm_q": {"diffusers": ("attn2.norm_q",), "nvlabs": ("cross_attn.q_norm",)},
    "cross_attention.norm_k": {"diffusers": ("attn2.norm_k",), "nvlabs": ("cross_attn.k_norm",)},
    "ffn.inverted": {"diffusers": ("ff.conv_inverted",), "nvlabs": ("mlp.inverted_conv.conv",)},
    "ffn.depthwise": {"diffusers": ("ff.conv_depth",), "nvlabs": ("mlp.depth_conv.conv",)},
    "ffn.point": {"diffusers": ("ff.conv_point",), "nvlabs": ("mlp.point_conv.conv",)},
    "": {"diffusers": ("",), "nvlabs": ("",)},
}
_BLOCKS: dict[Layout, str] = {"diffusers": "transformer_blocks", "nvlabs": "blocks"}
_CONVOLUTIONS = ("embed.weight", "ffn.inverted.weight", "ffn.point.weight")
_UNUSED = (
    "y_embedder.y_embedding",
    "pos_embed",
    "logvar_linear.",
)  # of NVlabs: the empty prompt, a constant, and a training aid


def sources(name: str, layout: Layout) -> tuple[str, ...]:
    """Return their names of our parameter `name` of a `LinearDiT`; of several they are the parts of ours, in this order."""
    module, _, leaf = name.rpartition(".")
    prefix = ""
    table = _OUTER
    if module.startswith("blocks."):
        _, index, *rest = module.split(".")
        module, prefix, table = ".".join(rest), f"{_BLOCKS[layout]}.{index}.", _BLOCK
    return tuple(
        f"{prefix}{theirs}.{leaf}" if theirs else f"{prefix}{leaf}"
        for theirs in table[module][layout]
    )


def layout_of(names: Mapping[str, Any]) -> Layout:
    """Tell whose names these are.

    Raises:
        ValueError: If they are nobody's.
    """
    for layout, first in (
        ("diffusers", "patch_embed.proj.weight"),
        ("nvlabs", "x_embedder.proj.weight"),
    ):
        if first in names:
            return layout  # pyright: ignore[reportReturnType]
    raise ValueError(
        "not a SANA transformer: neither patch_embed.proj.weight (diffusers) nor x_embedder.proj.weight (NVlabs) is there"
    )


def to_ours(theirs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename, join and reshape the weights of a SANA transformer.

    Args:
        theirs: The weights, by diffusers' or NVlabs' names.
        expected: The weights of a `LinearDiT` of the same size, of which names and shapes count. Its first layer may have more
            inputs than theirs (LR features): the weights of those are 0, so that it computes what theirs computes.

    Returns:
        Weights by the names of `LinearDiT`.

    Raises:
        ValueError: If a weight is missing, has another shape, or is left over.
    """
    layout = layout_of(theirs)
    ours, used = {}, set()
    for name, like in expected.items():
        parts = sources(name, layout)
        missing = [part for part in parts if part not in theirs]
        if missing:
            raise ValueError(f"the SANA checkpoint lacks {missing[0]} ({layout} names)")
        used.update(parts)
        weight = torch.cat([theirs[part] for part in parts])
        weight = weight.flatten(1) if name.endswith(_CONVOLUTIONS) else weight
        if name == "embed.weight" and weight.shape[1] < like.shape[1]:
            weight = torch.nn.functional.pad(weight, (0, like.shape[1] - weight.shape[1]))
        if weight.shape != like.shape:
            raise ValueError(
                f"{' + '.join(parts)} of the SANA checkpoint is {tuple(weight.shape)}, not {tuple(like.shape)}"
            )
        ours[name] = weight.contiguous()
    left = sorted(name for name in theirs.keys() - used if not name.startswith(_UNUSED))
    if left:
        raise ValueError(
            f"the SANA checkpoint has {left[0]} and {len(left) - 1} more that LinearDiT has no place for"
        )
    return ours


def to_diffusers(ours: Mapping[str, Tensor], in_channels: int) -> dict[str, Tensor]:
    """Name the weights of a `LinearDiT` as `SanaTransformer2DModel` does: the inverse of `to_ours` for the first `in_channels` inputs."""
    theirs = {}
    for name, weight in ours.items():
        parts = sources(name, "diffusers")
        weight = weight[:, :in_channels] if name == "embed.weight" else weight
        weight = weight[..., None, None] if name.endswith(_CONVOLUTIONS) else weight
        theirs |= dict(
            zip(parts, (part.contiguous() for part in weight.chunk(len(parts))), strict=True)
        )
    return theirs


def read_sana(source: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the transformer of a published SANA.

    Args:
        source: A folder of diffusers (the model or its `transformer` folder), or a `.safetensors` or `.pth` file.

    Returns:
        The weights by their names, and `config.json` of diffusers where there is one.

    Raises:
        ValueError: If there is no such file or it holds no weights.
    """
    folder = source / "transformer" if (source / "transformer").is_dir() else source
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else [source]
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    if index.is_file():
        files = [
            folder / name
            for name in sorted(set(json.loads(index.read_text())["weight_map"].values()))
        ]
    elif len(files) > 1:
        raise ValueError(
            f"{folder} holds several checkpoints: name one of {', '.join(file.name for file in files)}"
        )
    if not files or not all(file.is_file() for file in files):
        raise ValueError(
            f"{source}: no SANA checkpoint there (a folder of diffusers, a .safetensors or a .pth file)"
        )
    config = files[0].parent / "config.json"
    try:
        weights: dict[str, Tensor] = {}
        for file in files:
            weights |= _read_file(file)
        return weights, json.loads(config.read_text()) if config.is_file() else {}
    except Exception as error:  # torch, pickle, zip, safetensors and json each have their own kinds
        raise ValueError(
            f"{source}: not a checkpoint, or a damaged one ({type(error).__name__})"
        ) from error


def _read_file(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return weights.get("state_dict", weights)
