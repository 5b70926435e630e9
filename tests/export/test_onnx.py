"""ONNX files: the numbers of PyTorch, plain operators, and use without PyTorch."""

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from support.exported_page import save_small_model
from support.processes import ROOT
from support.tiny import TINY
from torch import nn

from lsr.cli import main
from lsr.export.networks import ExpertsNetwork
from lsr.export.onnx_experts import joined_by_time
from lsr.export.onnx_file import traced, write_onnx
from lsr.inference.upscaler import Upscaler
from lsr.models.checkpoint import load_denoiser, model_config, save_denoiser
from lsr.models.mixture import ExpertMixture

SNIPPETS = [
    code
    for code in re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs" / "upscaling.md").read_text(), re.S | re.M
    )
    if "onnxruntime" in code
]


def run_without_torch(code, folder):
    blocked = "import sys\nsys.modules['torch'] = sys.modules['lsr'] = None\n"
    done = subprocess.run(
        [sys.executable, "-c", blocked + code], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return np.asarray(Image.open(folder / "large.png")).astype(int)


def lr_picture(photo, folder):
    """Write a photograph with odd sides and return its pixels."""
    Image.fromarray(photo[:33, :47]).save(folder / "photo.jpg", quality=95)
    return np.asarray(Image.open(folder / "photo.jpg"))


def test_twenty_lines_without_torch_give_the_picture_of_lsr(page, photo, tmp_path):
    lr = lr_picture(photo, tmp_path)
    (tmp_path / "model.onnx").symlink_to(page / "model.onnx")
    assert len(SNIPPETS[0].splitlines()) <= 20
    large = run_without_torch(SNIPPETS[0], tmp_path)
    wanted = Upscaler.from_pretrained(page.parent / "small.safetensors").upscale(lr)
    assert large.shape == (132, 188, 3)
    assert np.abs(large - wanted).max() <= 1


def test_the_file_says_what_it_is_and_nothing_of_this_machine(page):
    about = onnxruntime.InferenceSession(page / "model.onnx").get_modelmeta().custom_metadata_map
    assert about["map"] == "lr, noise -> sr" and about["model"] == "small"
    assert (about["scale"], about["prediction"], about["licence"]) == (
        "4",
        "preconditioned",
        "cc0-1.0",
    )
    assert str(ROOT).encode() not in (page / "model.onnx").read_bytes()


@pytest.fixture(scope="module")
def velocity(tmp_path_factory):
    """Return the folder of a model of several steps with its velocity in float16."""
    folder = tmp_path_factory.mktemp("velocity")
    save_small_model(folder / "one.safetensors")
    model, shift = load_denoiser(folder / "one.safetensors")
    model.one_step = False
    save_denoiser(folder / "several.safetensors", model.state_dict(), model_config(model, shift))
    command = ["export", str(folder / "several.safetensors"), "--format", "onnx"]
    options = ["--out", str(folder / "velocity.onnx"), "--dtype", "float16"]
    assert main([*command, *options]) == 0
    return folder


def test_sums_over_all_tokens_are_float32_and_plain_products_in_float16_too(velocity):
    model = onnx.shape_inference.infer_shapes(onnx.load(velocity / "velocity.onnx"))
    assert {each.domain for each in model.opset_import} == {""}
    types = {each.name: each.type.tensor_type.elem_type for each in model.graph.value_info}
    weights = {each.name for each in model.graph.initializer}
    products = [
        node.input
        for node in model.graph.node
        if node.op_type == "MatMul" and not weights & set(node.input)
    ]
    attention = [inputs for inputs in products if all(types.get(name) for name in inputs)]
    assert len(attention) >= 3
    assert {types[name] for inputs in attention for name in inputs} == {onnx.TensorProto.FLOAT}
    halves = [each for each in model.graph.initializer if each.data_type == 10]
    assert sum(np.prod(each.dims) for each in halves) > 10_000


def test_several_steps_without_torch_give_the_picture_of_lsr(velocity, photo, tmp_path):
    """The noise is another one, but the small model does not see it: only the states do."""
    lr = lr_picture(photo, tmp_path)
    (tmp_path / "velocity.onnx").symlink_to(velocity / "velocity.onnx")
    large = run_without_torch(SNIPPETS[1], tmp_path)
    upscaler = Upscaler.from_pretrained(velocity / "several.safetensors", num_inference_steps=4)
    assert np.abs(large - upscaler.upscale(lr)).mean() < 3


def test_the_time_chooses_the_expert_of_the_mixture():
    mixture = ExpertMixture(replace(TINY, context_dim=0, depth=1), (0.25, 0.5))
    network = ExpertsNetwork(mixture).requires_grad_(False)
    for index in range(3):
        torch.nn.init.constant_(network.expert(index).denoiser.net.out.bias, index + 1.0)
    for seed in range(6):
        lr, x_t, t = network.example(2, 4, 6, seed)
        assert (mixture.route(t) == seed % 3).all()
        wanted = network.expert(seed % 3)(lr, x_t, t)
        assert all(torch.equal(*pair) for pair in zip(network(lr, x_t, t), wanted, strict=True))


def test_one_file_holds_several_experts():
    experts = [traced(ScaledByTime(factor)) for factor in (1.0, 2.0, 3.0)]
    joined = joined_by_time(experts, (0.25, 0.5))
    session = onnxruntime.InferenceSession(joined.SerializeToString())
    lr = np.ones((2, 3, 4, 5), np.float32)
    for t, factor in ((0.0, 1), (0.2, 1), (0.25, 2), (0.4, 2), (0.5, 3), (1.0, 3)):
        times = np.full(2, t, np.float32)
        (sr,) = session.run(["sr"], {"lr": lr, "t": times})
        np.testing.assert_allclose(sr, lr * factor + t, rtol=1e-6)


class Scaled(nn.Module):
    """A network that is quickly exported."""

    inputs = ("lr",)
    outputs = ("sr",)

    def __init__(self, factor):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, lr):
        return (lr * self.factor,)

    def example(self, batch, height, width, seed):
        generator = torch.Generator().manual_seed(seed)
        return (torch.rand(batch, 3, height, width, generator=generator),)


class ScaledByTime(Scaled):
    """A network of the time that is quickly exported."""

    inputs = ("lr", "t")

    def forward(self, lr, t):
        return (lr * self.factor + t[:, None, None, None],)

    def example(self, batch, height, width, seed):
        generator = torch.Generator().manual_seed(seed)
        return (
            *super().example(batch, height, width, seed),
            torch.rand(batch, generator=generator),
        )


@pytest.mark.parametrize("factor", [2.001, float("nan")])
def test_a_file_that_differs_from_pytorch_is_not_written(factor, tmp_path):
    path = tmp_path / "model.onnx"
    assert write_onnx(path, Scaled(2.0), Scaled(2.0), {}, "float32") < 1e-6
    path.unlink()
    with pytest.raises(ValueError, match="ONNX Runtime differs from PyTorch"):
        write_onnx(path, Scaled(factor), Scaled(2.0), {}, "float32")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--format", "onnx", "--out", "a.onnx", "--dtype", "bfloat16"], "choose float16"),
        (["--format", "web", "--out", "a"], "npm pack onnxruntime-web"),
        (["--out", "a.safetensors", "--runtime", "."], "belong together"),
        (["--format", "web", "--out", "a", "--runtime", "."], "npm pack onnxruntime-web@"),
        (["--format", "onnx", "--out", "two.safetensors"], "must end in .onnx"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    options, reason, denoiser, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    two = ExpertMixture(denoiser.config, (0.5,))
    save_denoiser(tmp_path / "two.safetensors", two.state_dict(), model_config(two, 3.0))
    assert main(["export", "two.safetensors", *options]) == 2
    message = capsys.readouterr().err
    assert reason in message and message.count("\n") == 1
    assert not (tmp_path / "a").exists() and not (tmp_path / "a.onnx").exists()
