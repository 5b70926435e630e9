"""CUDA graphs: one per set of shapes and dtypes; a replay gives the bits of a plain call."""

import pytest
import torch
from support.gpu import require_gpu
from torch._subclasses.fake_tensor import FakeTensorMode

from lsr.inference import cuda_graph
from lsr.inference.config import SamplingConfig
from lsr.inference.cuda_graph import GraphReplay, replay_transformers
from lsr.inference.upscaler import Upscaler
from lsr.models.denoiser import Denoiser, DenoiserConfig
from lsr.models.mixture import ExpertMixture


@pytest.fixture
def log(monkeypatch):
    """Return the list of what happens; instead of a graph, a function notes that it is replayed."""
    events = []

    def capture(function, inputs):
        events.append("capture")

        def replay(*inputs):
            events.append("replay")
            return inputs[0]

        return replay

    monkeypatch.setattr(cuda_graph, "capture", capture)
    return events


@pytest.fixture
def function(log):
    def plain(*inputs):
        log.append("plain")
        return inputs[0]

    return GraphReplay(plain)


def on_gpu(*shape, dtype=torch.float32):
    """Return a tensor without storage whose device is a GPU."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        return torch.empty(shape, dtype=dtype, device="cuda")


@torch.no_grad()
def test_a_shape_that_comes_again_is_captured_once(function, log):
    for _ in range(4):
        function(on_gpu(2, 3), None)
    assert log == ["plain", "capture", "replay", "replay", "replay"]


@torch.no_grad()
def test_keys_and_values_in_tuples_are_inputs_of_their_own(function, log):
    x = on_gpu(2, 3)
    for length in (4, 4, 5, 4, 5):
        function(x, tuple((on_gpu(length), on_gpu(length)) for _ in range(2)), None)
    function(x, tuple((on_gpu(4), on_gpu(4)) for _ in range(3)), None)
    assert log == ["plain", "capture", "replay", "plain", "replay", "capture", "replay", "plain"]


@pytest.mark.parametrize(
    "other",
    [(on_gpu(2, 4), None), (on_gpu(2, 3, dtype=torch.float16), None), (on_gpu(2, 3), on_gpu(1))],
)
@torch.no_grad()
def test_shapes_types_and_what_is_left_out_tell_graphs_apart(function, log, other):
    for inputs in ((on_gpu(2, 3), None), other) * 2:
        function(*inputs)
    assert log == ["plain", "plain", "capture", "replay", "capture", "replay"]


@torch.no_grad()
def test_the_graph_that_was_used_least_recently_is_let_go(function, log, monkeypatch):
    monkeypatch.setattr(cuda_graph, "_MOST_GRAPHS", 2)
    for side in (1, 1, 2, 1, 3, 1, 2):
        function(on_gpu(side))
    assert log == ["plain", "capture", "replay", "plain", "replay", "plain", "replay", "plain"]


def test_on_a_cpu_and_where_gradients_are_recorded_a_call_is_plain(function, log):
    for _ in range(3):
        function(on_gpu(2))
        with torch.no_grad():
            function(torch.zeros(2))
            function(on_gpu(2), torch.zeros(2))
    assert log == ["plain"] * 9


@torch.no_grad()
def test_under_autocast_a_call_is_plain(function, log):
    torch.set_autocast_enabled("cuda", True)  # torch.autocast would not, without a GPU
    try:
        for _ in range(3):
            function(on_gpu(2))
    finally:
        torch.set_autocast_enabled("cuda", False)
    assert log == ["plain"] * 3


SMALL = DenoiserConfig(width=32, depth=1, head_dim=16, stem_width=8)


def test_an_upscaler_on_a_cpu_does_not_change_what_it_gives(photo):
    from lsr.images import Photograph

    photograph = Photograph(
        pixels=(photo[:8, :8] / 255).astype("float32"),
        alpha=None,
        bits=8,
        grey=False,
        icc=None,
        exif=None,
    )
    denoiser = ExpertMixture(SMALL, (0.5,)).eval()
    sampling = SamplingConfig(num_inference_steps=2)
    results = [
        Upscaler(denoiser, 3.0, sampling, torch.device("cpu"), graph).upscale(photograph)
        for graph in (False, True)
    ]
    assert (results[0].pixels == results[1].pixels).all()
    replayed = [denoiser.expert(i).net.forward for i in range(2)]
    assert (
        all(isinstance(forward, GraphReplay) for forward in replayed)
        and replayed[0] is not replayed[1]
    )
    replay_transformers(denoiser)
    assert [denoiser.expert(i).net.forward for i in range(2)] == replayed, (
        "a graph would capture a graph"
    )


@pytest.mark.parametrize("context_dim", [0, 12])
@torch.no_grad()
def test_on_a_gpu_a_replay_gives_the_bits_of_a_plain_call(context_dim):
    require_gpu("CUDA graph replay")
    denoiser = (
        Denoiser(DenoiserConfig(width=64, depth=2, stem_width=8, context_dim=context_dim))
        .cuda()
        .eval()
    )
    generator = torch.Generator("cuda").manual_seed(0)
    for parameter in denoiser.parameters():
        parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator, device="cuda"))
    plain = denoiser.net.forward
    replay_transformers(denoiser)

    def compare(side):
        x = torch.randn(
            1, denoiser.net.embed.in_features, side, side, generator=generator, device="cuda"
        )
        context = torch.randn(1, 3, 12, generator=generator, device="cuda") if context_dim else None
        t = torch.rand(1, generator=generator, device="cuda")
        inputs = x, t, context, None
        if context is not None:
            remembered = (
                x,
                t,
                denoiser.net.keys_values(context),
                torch.ones(1, 3, dtype=torch.bool, device="cuda"),
            )
            assert torch.equal(denoiser.net(*remembered), plain(*remembered))
        assert torch.equal(denoiser.net(*inputs), plain(*inputs))
        return denoiser.net(*inputs)

    earlier = compare(8)
    kept = earlier.clone()
    for side in (8, 8, 5, 5, 5, 8):
        compare(side)
    assert torch.equal(earlier, kept), "a result is overwritten by a later replay"
    denoiser.net.out.weight.mul_(2)
    compare(8)
