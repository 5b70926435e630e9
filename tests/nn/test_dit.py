import pytest
import torch
import torch.nn.functional as F

from lsr.nn.attention import CrossAttention, LinearSelfAttention
from lsr.nn.block import MixFFN
from lsr.nn.dit import LinearDiT
from lsr.nn.embeddings import LRStem, TimestepEmbedding


def network(generator, **changes):
    net = LinearDiT(
        5, 7, width=32, depth=2, head_dim=16, cross_heads=2, **{"context_dim": 12} | changes
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return net


def inputs(generator, batch=2, size=(3, 5)):
    return torch.randn(batch, 5, *size, generator=generator), torch.rand(batch, generator=generator)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 2)])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_shape_and_gradient_reach_every_weight(generator, size, qk_norm):
    net = network(generator, qk_norm=qk_norm)
    context = torch.randn(2, 4, 12, generator=generator)
    out = net(*inputs(generator, size=size), context)
    assert out.shape == (2, 7, *size)
    out.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None] == []


def test_the_untrained_network_predicts_zero(generator):
    net = LinearDiT(5, 7, width=32, depth=2)
    assert (net(*inputs(generator)) == 0).all()


def test_samples_of_a_batch_do_not_see_each_other(generator):
    net = network(generator)
    x, t = inputs(generator, batch=3)
    context, mask = (
        torch.randn(3, 4, 12, generator=generator),
        torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]]).bool(),
    )
    together = net(x, t, context, mask)
    alone = torch.cat(
        [net(x[i : i + 1], t[i : i + 1], context[i : i + 1], mask[i : i + 1]) for i in range(3)]
    )
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_padding_of_the_context_does_not_matter(generator):
    net = network(generator)
    x, t = inputs(generator)
    context = torch.randn(2, 3, 12, generator=generator)
    padded = F.pad(context, (0, 0, 0, 5), value=1e3)
    mask = (torch.arange(8) < 3).expand(2, 8)
    torch.testing.assert_close(net(x, t, padded, mask), net(x, t, context), rtol=1e-5, atol=1e-5)


def test_context_matters_and_an_empty_one_is_none(generator):
    net = network(generator)
    x, t = inputs(generator)
    without = net(x, t)
    assert not torch.allclose(net(x, t, torch.randn(2, 3, 12, generator=generator)), without)
    assert torch.equal(net(x, t, torch.empty(2, 0, 12)), without)
    assert torch.equal(
        net(x, t, torch.randn(2, 3, 12, generator=generator), torch.zeros(2, 3).bool()), without
    )


def test_cross_attention_to_nothing_has_finite_gradients(generator):
    attention = CrossAttention(16, 2)
    x = torch.randn(2, 6, 16, generator=generator, requires_grad=True)
    mask = torch.tensor([[True, False], [False, False]])
    attention(x, torch.randn(2, 2, 16, generator=generator), mask).square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and (x.grad[1] == 0).all()


def test_self_attention_ignores_the_order_of_tokens(generator):
    attention = LinearSelfAttention(32, 16)
    x = torch.randn(1, 10, 32, generator=generator)
    order = torch.randperm(10, generator=generator)
    torch.testing.assert_close(attention(x[:, order]), attention(x)[:, order])


def test_mix_ffn_equals_its_convolutional_form(generator):
    ffn = MixFFN(8)
    x = torch.randn(2, 12, 8, generator=generator)
    image = x.transpose(1, 2).unflatten(2, (3, 4))
    hidden = F.silu(F.conv2d(image, ffn.inverted.weight[:, :, None, None], ffn.inverted.bias))
    value, gate = ffn.depthwise(hidden).chunk(2, dim=1)
    expected = (
        F.conv2d(value * F.silu(gate), ffn.point.weight[:, :, None, None])
        .flatten(2)
        .transpose(1, 2)
    )
    torch.testing.assert_close(ffn(x, (3, 4)), expected)


def test_timestep_embedding_tells_times_apart():
    t = torch.linspace(0, 1, 50)
    embedded = TimestepEmbedding(64)(t)
    distance = torch.cdist(embedded, embedded) + torch.eye(50) * 9
    assert distance.min() > 1e-5


@pytest.mark.parametrize("reduction", [1, 2, 8, 16])
def test_stem_reaches_the_latent_grid(reduction):
    assert LRStem(reduction, 6)(torch.zeros(1, 3, 32, 48)).shape == (
        1,
        6,
        32 // reduction,
        48 // reduction,
    )


@pytest.mark.parametrize(
    "build",
    [lambda: LRStem(3, 6), lambda: LinearSelfAttention(30, 16), lambda: CrossAttention(30, 4)],
)
def test_sizes_that_do_not_fit_are_refused(build):
    with pytest.raises(ValueError, match="multiple|power"):
        build()


def test_checkpointing_keeps_less_and_changes_nothing(generator):
    net = network(generator)
    x, t = inputs(generator)
    context = torch.randn(2, 4, 12, generator=generator)

    def gradients():
        kept = 0

        def count(tensor):
            nonlocal kept
            kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            loss = net(x, t, context).square().sum()
        return kept, torch.autograd.grad(loss, list(net.parameters()))

    everything, plain = gradients()
    net.gradient_checkpointing = True
    less, checkpointed = gradients()
    assert less < everything / 3
    assert all(torch.equal(one, other) for one, other in zip(plain, checkpointed, strict=True))
