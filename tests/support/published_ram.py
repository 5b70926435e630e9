"""Random weights of a small RAM or RAM++ in a file of the published names and format."""

import torch

EMBED, WIDTH, HIDDEN, WINDOW, TAGS = 8, 8, 12, 2, ["sea", "boat", "cat", "old pier", "castle"]


def swin_shapes():
    shapes = {
        "patch_embed.proj.weight": (8, 3, 4, 4),
        "patch_embed.proj.bias": (8,),
        "patch_embed.norm.weight": (8,),
    }
    shapes |= {"patch_embed.norm.bias": (8,)}
    for stage, heads in enumerate((1, 2, 2, 4)):
        dim = 8 * 2**stage
        for block in range(2 if stage == 1 else 1):
            name = f"layers.{stage}.blocks.{block}"
            for norm in ("norm1", "norm2"):
                shapes |= {f"{name}.{norm}.weight": (dim,), f"{name}.{norm}.bias": (dim,)}
            shapes |= {f"{name}.attn.relative_position_bias_table": ((2 * WINDOW - 1) ** 2, heads)}
            shapes |= {
                f"{name}.attn.qkv.weight": (3 * dim, dim),
                f"{name}.attn.qkv.bias": (3 * dim,),
            }
            shapes |= {f"{name}.attn.proj.weight": (dim, dim), f"{name}.attn.proj.bias": (dim,)}
            shapes |= {f"{name}.mlp.fc1.weight": (4 * dim, dim), f"{name}.mlp.fc1.bias": (4 * dim,)}
            shapes |= {f"{name}.mlp.fc2.weight": (dim, 4 * dim), f"{name}.mlp.fc2.bias": (dim,)}
            shapes |= {f"{name}.attn.relative_position_index": (WINDOW**2, WINDOW**2)}
        if stage < 3:  # Swin's authors have it at the end of a stage
            name = f"layers.{stage}.downsample"
            shapes |= {
                f"{name}.reduction.weight": (2 * dim, 4 * dim),
                f"{name}.norm.weight": (4 * dim,),
                f"{name}.norm.bias": (4 * dim,),
            }
    shapes |= {"layers.1.blocks.1.attn_mask": (4, 4, 4), "norm.weight": (64,), "norm.bias": (64,)}
    return {f"visual_encoder.{name}": shape for name, shape in shapes.items()}


def published_weights(plus, descriptions=3):
    shapes = swin_shapes()
    shapes |= {
        "image_proj.weight": (EMBED, 64),
        "image_proj.bias": (EMBED,),
        "wordvec_proj.weight": (WIDTH, EMBED),
    }
    shapes |= {"wordvec_proj.bias": (WIDTH,), "fc.weight": (1, WIDTH), "fc.bias": (1,)}
    shapes |= {"label_embed": (len(TAGS) * (descriptions if plus else 1), EMBED)}
    shapes |= (
        {"reweight_scale": ()}
        if plus
        else {"tag_encoder.encoder.layer.0.output.dense.bias": (3,), "text_decoder.cls.bias": (3,)}
    )
    for layer in range(2):
        name = f"tagging_head.encoder.layer.{layer}"
        for part, (rows, columns) in {
            "crossattention.self.query": (WIDTH, WIDTH),
            "crossattention.self.key": (WIDTH, EMBED),
            "crossattention.self.value": (WIDTH, EMBED),
            "crossattention.output.dense": (WIDTH, WIDTH),
            "intermediate.dense": (HIDDEN, WIDTH),
            "output.dense": (WIDTH, HIDDEN),
        }.items():
            shapes |= {f"{name}.{part}.weight": (rows, columns), f"{name}.{part}.bias": (rows,)}
        for part in ("crossattention.output.LayerNorm", "output.LayerNorm"):
            shapes |= {f"{name}.{part}.weight": (WIDTH,), f"{name}.{part}.bias": (WIDTH,)}
    generator = torch.Generator().manual_seed(3)
    weights = {
        name: 0.5 * torch.randn(shape, generator=generator) for name, shape in shapes.items()
    }
    return weights | {"label_embed": 8 * weights["label_embed"]}  # tags that differ


def save_ram(folder, plus, threshold=0.5):
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ("ram_plus_swin_large_14m.pth" if plus else "ram_swin_large_14m.pth")
    torch.save({"model": published_weights(plus)}, path)
    (folder / "ram_tag_list.txt").write_text("\n".join(TAGS) + "\n")
    (folder / "ram_tag_list_threshold.txt").write_text(f"{threshold}\n" * len(TAGS))
    return path
