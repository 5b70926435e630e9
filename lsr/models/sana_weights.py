"""Convert the weights of SANA's transformer between the names of diffusers, NVlabs and `LinearDiT`.

The published layouts are `SanaTransformer2DModel` of diffusers and `SanaMS` of NVlabs/Sana.
`LinearDiT` has one matrix for q, k and v (diffusers has three), one for k and v of the context
(diffusers has two), and linear layers where both have 1x1 convolutions.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

Layout = Literal["diffusers", "nvlabs"]

# For each module of `LinearDiT`: the published modules it is made of. Several are joined in this
# order.
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
# The same for the modules of one block; "" is the block, or the transformer, itself.
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
# Weights of NVlabs that the network does not need: the embedding of the empty prompt, a constant,
# and a layer that only their training uses.
_UNUSED = ("y_embedder.y_embedding", "pos_embed", "logvar_linear.")


def sources(name: str, layout: Layout) -> tuple[str, ...]:
    """Return the published names of the parts of a parameter.

    Args:
        name: Name of a parameter of `LinearDiT`, such as "blocks.3.attention.qkv.weight".
        layout: Layout whose names are returned.

    Returns:
        One name, or several whose weights are joined along the first dimension in this order.
    """
    module, _, leaf = name.rpartition(".")
    prefix = ""
    table = _OUTER
    if module.startswith("blocks."):
        _, index, *rest = module.split(".")
        module = ".".join(rest)
        prefix = f"{_BLOCKS[layout]}.{index}."
        table = _BLOCK
    return tuple(
        f"{prefix}{theirs}.{leaf}" if theirs else f"{prefix}{leaf}"
        for theirs in table[module][layout]
    )


def layout_of(names: Mapping[str, Any]) -> Layout:
    """Return the layout that the names of weights belong to.

    Raises:
        ValueError: If they belong to no known layout.
    """
    if "patch_embed.proj.weight" in names:
        return "diffusers"
    if "x_embedder.proj.weight" in names:
        return "nvlabs"
    raise ValueError(
        "not the checkpoint of a SANA transformer: it has neither patch_embed.proj.weight "
        "(diffusers) nor x_embedder.proj.weight (NVlabs)"
    )


def to_ours(theirs: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the published weights of a SANA transformer to those of a `LinearDiT`.

    Args:
        theirs: Published weights by the names of diffusers or NVlabs.
        expected: State dict of a `LinearDiT` of the same size, for its names and shapes. Its first
            layer may have more input channels than the published one, for LR features. Their
            weights become 0, so that both networks compute the same.

    Returns:
        Weights by the names of `LinearDiT`.

    Raises:
        ValueError: If a weight is missing, has a wrong shape, or is not used.
    """
    layout = layout_of(theirs)
    ours: dict[str, Tensor] = {}
    used: set[str] = set()
    for name, like in expected.items():
        parts = sources(name, layout)
        missing = [part for part in parts if part not in theirs]
        if missing:
            raise ValueError(
                f"the SANA checkpoint lacks {missing[0]} ({layout} names): it is incomplete or "
                "another model; fetch it again"
            )
        used.update(parts)
        weight = torch.cat([theirs[part] for part in parts])
        if name.endswith(_CONVOLUTIONS):
            weight = weight.flatten(1)  # (out, in, 1, 1) to (out, in)
        if name == "embed.weight" and weight.shape[1] < like.shape[1]:
            weight = torch.nn.functional.pad(weight, (0, like.shape[1] - weight.shape[1]))
        if weight.shape != like.shape:
            raise ValueError(
                f"{' + '.join(parts)} of the SANA checkpoint has the shape {tuple(weight.shape)}, "
                f"not {tuple(like.shape)}: it is another model, or damaged: fetch it again"
            )
        ours[name] = weight.contiguous()
    left = sorted(name for name in theirs.keys() - used if not name.startswith(_UNUSED))
    if left:
        raise ValueError(
            f"the SANA checkpoint has weights that are not used, {left[0]} and {len(left) - 1} "
            "more: it is another model"
        )
    return ours


def to_diffusers(ours: Mapping[str, Tensor], in_channels: int) -> dict[str, Tensor]:
    """Convert the weights of a `LinearDiT` to those of `SanaTransformer2DModel` of diffusers.

    Args:
        ours: State dict of a `LinearDiT`.
        in_channels: Input channels of the converted network, the first ones of the `LinearDiT`.

    Returns:
        Weights by the names of diffusers: the inverse of `to_ours`.
    """
    theirs = {}
    for name, weight in ours.items():
        parts = sources(name, "diffusers")
        if name == "embed.weight":
            weight = weight[:, :in_channels]
        if name.endswith(_CONVOLUTIONS):
            weight = weight[..., None, None]
        for part, values in zip(parts, weight.chunk(len(parts)), strict=True):
            theirs[part] = values.contiguous()
    return theirs


def read_sana(source: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights of the transformer of a published SANA.

    Args:
        source: Folder of diffusers (of the whole model or of its transformer), or a `.safetensors`
            or `.pth` file.

    Returns:
        Weights by their published names, and the content of `config.json` in the same folder; {} if
        there is no such file.

    Raises:
        ValueError: If the file does not exist or holds no weights.
    """
    folder = source / "transformer" if (source / "transformer").is_dir() else source
    files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else [source]
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    if index.is_file():
        shards = set(json.loads(index.read_text())["weight_map"].values())
        files = [folder / name for name in sorted(shards)]
    elif len(files) > 1:
        raise ValueError(
            f"{folder} holds several checkpoints: name one of "
            f"{', '.join(file.name for file in files)}"
        )
    if not files or not all(file.is_file() for file in files):
        raise ValueError(
            f"{source}: no SANA checkpoint found; give a folder of diffusers, a .safetensors or "
            "a .pth file"
        )
    config = files[0].parent / "config.json"
    try:
        weights: dict[str, Tensor] = {}
        for file in files:
            weights |= _read_file(file)
        return weights, json.loads(config.read_text()) if config.is_file() else {}
    # torch, pickle, zip, safetensors and json all raise different exceptions.
    except Exception as error:
        raise ValueError(
            f"{source}: not a checkpoint, or damaged ({type(error).__name__}); fetch it again"
        ) from error


def _read_file(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    weights = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    return weights.get("state_dict", weights)
