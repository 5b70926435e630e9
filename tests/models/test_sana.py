"""Parity with SANA: the model of diffusers with the same weights computes the same."""

from dataclasses import asdict

import pytest
import torch
from safetensors.torch import load_file

from lsr.cli import main
from lsr.models.checkpoint import read_denoiser, save_denoiser
from lsr.models.denoiser import Denoiser
from lsr.models.sana_weights import sources, to_diffusers
from lsr.models.sizes import SIZES, named_size
from lsr.nn.dit import LinearDiT

SHAPE = {
    "in_channels": 8,
    "out_channels": 8,
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "num_layers": 3,
    "num_cross_attention_heads": 2,
    "cross_attention_head_dim": 64,
    "cross_attention_dim": 128,
    "caption_channels": 48,
    "mlp_ratio": 2.5,
    "attention_bias": False,
    "sample_size": 8,
    "patch_size": 1,
}


@pytest.fixture(params=[None, "rms_norm_across_heads"], ids=["plain", "qk_norm"])
def sana(request, tmp_path, generator):
    """Return a small SANA of diffusers in which every weight has an effect, and its folder."""
    from diffusers.models.transformers.sana_transformer import SanaTransformer2DModel

    model = SanaTransformer2DModel(**SHAPE, qk_norm=request.param).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(tmp_path / "sana" / "transformer")
    return model, tmp_path / "sana"


def converted(folder, *options):
    out = folder.parent / "model.safetensors"
    assert main(["convert", "sana", str(folder), "--out", str(out), *options]) == 0
    return out


def inputs(generator):
    def normal(*shape):
        return torch.randn(*shape, generator=generator)

    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3])
    return (
        normal(2, 8, 6, 10),
        torch.tensor([0.013, 0.987]),
        normal(2, 7, 48),
        mask,
        normal(2, 3, 48, 80),
    )


def test_a_converted_model_computes_what_sana_computes(sana, generator):
    model, folder = sana
    weights, config, shift = read_denoiser(converted(folder))
    denoiser = Denoiser(config)
    denoiser.load_state_dict(weights)
    x, t, context, mask, lr = inputs(generator)
    with torch.no_grad():
        ours = denoiser(x, t, denoiser.condition(lr, context, mask))
        theirs = model(
            x, encoder_hidden_states=context, timestep=1000 * t, encoder_attention_mask=mask
        ).sample
    assert theirs.std() > 0.3 and shift == 3.0
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_converting_back_is_exact(sana):
    model, folder = sana
    back = folder.parent / "back.safetensors"
    assert (
        main(["convert", "sana", str(converted(folder)), "--out", str(back), "--to-diffusers"]) == 0
    )
    again, before = load_file(back), model.state_dict()
    assert again.keys() == before.keys() and all(
        torch.equal(again[name], weight) for name, weight in before.items()
    )


def test_the_checkpoints_of_nvlabs_give_the_same_model(sana):
    _, folder = sana
    ours = converted(folder)
    weights, config, _ = read_denoiser(ours)
    net = {
        name.removeprefix("net."): weight
        for name, weight in weights.items()
        if name.startswith("net.")
    }
    net["embed.weight"] = net["embed.weight"][:, : config.latent_channels]
    names = {name: sources(name, "nvlabs") for name in net}
    assert all(len(parts) == 1 for parts in names.values())
    theirs = {names[name][0]: weight for name, weight in net.items()}
    for name in ("x_embedder.proj.weight", "blocks.1.mlp.inverted_conv.conv.weight"):
        theirs[name] = theirs[name][..., None, None]
    theirs |= {
        "pos_embed": torch.zeros(1, 64, 128),
        "y_embedder.y_embedding": torch.zeros(300, 48),
        "logvar_linear.bias": torch.zeros(1),
    }
    torch.save({"state_dict": theirs, "epoch": 3}, folder.parent / "nvlabs.pth")
    out = folder.parent / "from_nvlabs.safetensors"
    command = ["convert", "sana", str(folder.parent / "nvlabs.pth"), "--out", str(out)]
    assert main(command) == 2, "the weights alone do not tell the heads of the cross-attention"
    assert main([*command, "--cross-heads", "2"]) == 0
    again, config_again, _ = read_denoiser(out)
    assert config_again == config and all(
        torch.equal(again[name], weight) for name, weight in weights.items()
    )


def test_what_is_no_sana_is_refused_in_one_line(sana, tmp_path, capsys):
    model, folder = sana
    state = dict(model.state_dict())
    last = tmp_path / "x.safetensors"
    damaged = {
        "nothing there": tmp_path / "nowhere",
        "no such weights": {"a": torch.zeros(1)},
        "lacks": {name: weight for name, weight in state.items() if "1.ff.conv_point" not in name},
        "weights that are not used": state
        | {"time_embed.guidance_embedder.linear_1.weight": torch.zeros(1)},
        "is \\(3,": state | {"proj_out.bias": torch.zeros(3)},
    }
    for what, content in damaged.items():
        path = content
        if isinstance(content, dict):
            path = tmp_path / "broken.pth"
            torch.save(content, path)
        assert (
            main(["convert", "sana", str(path), "--out", str(last), "--cross-heads", "2"]) == 2
        ), what
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and error.startswith("lsr convert: "), error
    assert not last.exists()


@pytest.mark.parametrize(("size", "millions"), [("sana-0.6b", 591.7), ("sana-1.6b", 1604.5)])
def test_the_named_sizes_have_the_published_number_of_parameters(size, millions):
    config = named_size(size)
    with torch.device("meta"):
        net = LinearDiT(
            32,
            32,
            config.width,
            config.depth,
            config.head_dim,
            config.cross_heads,
            config.mlp_ratio,
            config.context_dim,
            config.qk_norm,
        )
    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == millions


def test_every_size_can_be_built_and_saved(tmp_path):
    for name in SIZES:
        with torch.device("meta"):
            assert Denoiser(named_size(name)).net.blocks[0].attention.head_dim == 32
    with pytest.raises(ValueError, match="unknown size 'huge'; known are tiny, small"):
        named_size("huge")
    config = named_size("tiny", width=32)
    denoiser = Denoiser(config)
    save_denoiser(
        tmp_path / "a.safetensors", denoiser.state_dict(), asdict(config) | {"shift": 1.0}
    )
    assert read_denoiser(tmp_path / "a.safetensors")[1] == config
    assert to_diffusers(denoiser.net.state_dict(), 192)["patch_embed.proj.weight"].shape == (
        32,
        192,
        1,
        1,
    )


def test_a_model_in_pixel_space_has_no_place_in_diffusers(tmp_path, capsys):
    config = named_size("tiny", width=32, depth=1)
    save_denoiser(
        tmp_path / "a.safetensors", Denoiser(config).state_dict(), asdict(config) | {"shift": 1.0}
    )
    assert (
        main(
            [
                "convert",
                "sana",
                str(tmp_path / "a.safetensors"),
                "--out",
                str(tmp_path / "b.safetensors"),
                "--to-diffusers",
            ]
        )
        == 2
    )
    assert "works on pixels, but SANA works on latents" in capsys.readouterr().err
