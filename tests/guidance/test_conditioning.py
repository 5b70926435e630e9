"""Guidance through the whole model: tags change the image, no tags change nothing."""

from dataclasses import replace

import pytest
import torch
from support.tiny import TINY

from lsr.guidance.conditioning import Guidance, with_vocabulary
from lsr.guidance.context import Context, context_encoder, drop_context, encode, shuffled
from lsr.inference.sampling import super_resolve
from lsr.models.denoiser import Denoiser, DenoiserConfig
from lsr.models.mixture import ExpertMixture
from lsr.training.module import LinearSRModule

TAGS = replace(TINY, guidance="tags", vocabulary=("boat", "castle", "cat", "pier", "sea"))
LR = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(5)) * 2 - 1


def random_weights(model):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


@pytest.fixture
def model():
    return random_weights(Denoiser(TAGS))


def context_of(*texts):
    return encode(context_encoder(TAGS), texts, LR)


def noise_of(shape):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))


def sampled(model, context=(), steps=2, **options):
    tokens, mask = context or (None, None)
    return super_resolve(model, LR, noise_of, steps, 3.0, context=tokens, mask=mask, **options)


def evaluated(model, context=()):
    """One evaluation with gradients, as in training."""
    return model(noise_of((192, 2, 2)), torch.tensor([0.7, 0.2]), model.condition(LR, *context))


def test_tags_matter_to_their_own_image(model):
    one, other = (
        evaluated(model, context_of("sea, boat", "cat")),
        evaluated(model, context_of("sea, boat", "castle")),
    )
    torch.testing.assert_close(one[0], other[0])
    assert not torch.allclose(one[1], other[1], atol=1e-3)


def test_no_context_and_empty_lists_of_tags_are_the_same_bit_for_bit(model):
    empty, dropped = (
        context_of("", "unknown, also unknown"),
        drop_context(context_of("sea", "cat"), torch.arange(2), 1.0),
    )
    for context in (empty, dropped):
        assert torch.equal(evaluated(model, context), evaluated(model))
        assert torch.equal(sampled(model, context), sampled(model))
    beside = evaluated(model, context_of("", "cat"))
    assert torch.equal(beside[0], evaluated(model)[0]), (
        "the neighbour's tags pad the list that is empty"
    )
    assert not torch.allclose(beside[1], evaluated(model)[1], atol=1e-3)


def test_the_length_of_the_padding_does_not_matter(model):
    short = context_of("sea, boat", "cat")
    long = Context(
        torch.nn.functional.pad(short.tokens, (0, 40), value=3),
        torch.nn.functional.pad(short.mask, (0, 40)),
    )
    assert short.tokens.shape == (2, 2), "no longer than the longest"
    torch.testing.assert_close(evaluated(model, long), evaluated(model, short), rtol=0, atol=1e-5)


@pytest.mark.parametrize("mixture", [False, True])
def test_keys_and_values_are_made_once_per_image_and_change_nothing(model, mixture, monkeypatch):
    if mixture:
        model = random_weights(ExpertMixture(TAGS, (0.9,)))
    net = (model.expert(0) if mixture else model).net
    made = []
    compute = net.keys_values
    monkeypatch.setattr(net, "keys_values", lambda context: made.append(1) or compute(context))
    context = context_of("sea, boat", "cat")
    once = sampled(model, context, steps=5)
    assert len(made) == 1
    monkeypatch.setattr(
        "lsr.models.condition.Condition.memory",
        lambda condition, denoiser: denoiser.net.keys_values(denoiser.embed(condition)),
    )
    made.clear()
    assert torch.equal(sampled(model, context, steps=5), once)
    assert len(made) > 1


def test_training_does_not_keep_keys_and_values(model):
    condition = model.condition(LR, *context_of("sea", "cat"))
    loss = model(noise_of((192, 2, 2)), torch.tensor([0.7, 0.2]), condition).square().sum()
    loss.backward()
    assert not condition._memories
    rows = model.tag_table.weight.grad.abs().sum(1)
    assert (rows > 0).tolist() == [False, False, True, False, True], (
        "the embeddings of cat and sea learn"
    )


def test_every_expert_has_a_table_of_its_own():
    mixture = random_weights(ExpertMixture(TAGS, (0.5,)))
    with torch.no_grad():
        mixture.expert(0).tag_table.weight.zero_()
    x, context = noise_of((192, 2, 2)), context_of("sea", "cat")
    for expert, time in ((0, 0.2), (1, 0.8)):
        t = torch.full((2,), time)
        condition = mixture.condition(LR, *context)
        alone = mixture.expert(expert)
        assert torch.equal(mixture(x, t, condition), alone(x, t, alone.condition(LR, *context)))


@pytest.mark.parametrize("scale", [0.0, 3.0])
def test_classifier_free_guidance_is_the_difference_of_two_runs(model, scale):
    """With one step the sample is the start minus the velocity: both are guided alike."""
    model = random_weights(
        Denoiser(replace(TAGS, residual_std=0.001))
    )  # far from the limits of the range
    context = context_of("sea, boat", "cat")
    with_tags, without, guided = (
        sampled(model, c, steps=1, guidance_scale=s)
        for c, s in ((context, 1), ((), 1), (context, scale))
    )
    torch.testing.assert_close(
        guided, without + scale * (with_tags - without), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("scale", "context", "rows"), [(1.0, True, 2), (1.5, True, 4), (1.5, False, 2)]
)
def test_the_batch_is_doubled_only_where_guidance_needs_it(model, scale, context, rows):
    seen = []
    model.net.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    sampled(model, context_of("sea", "cat") if context else (), steps=3, guidance_scale=scale)
    assert seen == [rows] * 3


def test_dropping_is_a_function_of_the_sample_and_has_its_share():
    seeds = torch.arange(4000)
    full = Context(torch.zeros(4000, 3, dtype=torch.int64), torch.ones(4000, 3, dtype=torch.bool))
    kept = drop_context(full, seeds, 0.1).mask
    assert kept.all(1).sum() == kept.any(1).sum(), "all of a sample's tags or none"
    assert (~kept.any(1)).float().mean().item() == pytest.approx(0.1, abs=0.015)
    some = Context(full.tokens[7:9], full.mask[7:9])
    assert torch.equal(drop_context(some, seeds[7:9], 0.1).mask, kept[7:9])
    assert drop_context(full, seeds, 0.0).mask.all()


def batch(*tags):
    hr = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return {"hr": hr, "lr": LR, "seed": torch.arange(2), "tags": list(tags)}


def test_the_module_guides_by_the_tags_of_the_batch():
    module = LinearSRModule(TAGS, null_ratio=1.0)
    random_weights(module.denoiser)
    losses = [
        module.training_step(batch(*tags), 0) for tags in (("sea", "cat"), ("boat", "castle"))
    ]
    assert torch.equal(*losses), "all of them are dropped"
    module.guidance = Guidance(TAGS, 0.0)
    losses = [
        module.training_step(batch(*tags), 0) for tags in (("sea", "cat"), ("boat", "castle"))
    ]
    assert not torch.isclose(*losses)
    assert torch.equal(
        module.super_resolve(batch("", "")),
        module.super_resolve({k: v for k, v in batch().items() if k != "tags"}),
    )
    assert not torch.allclose(
        module.super_resolve(batch("sea", "cat")), module.super_resolve(batch("", "")), atol=1e-3
    )


def test_others_context_is_the_neighbours():
    context = context_of("sea, boat", "cat")
    swapped = shuffled(context)
    assert (
        swapped.mask.tolist() == [[True, False], [True, True]]
        and swapped.tokens[1].tolist() == context.tokens[0].tolist()
    )


def test_the_loss_with_the_neighbours_tags_stands_beside_the_loss():
    module = LinearSRModule(TAGS)
    random_weights(module.denoiser)
    own, swapped = (
        module.scores.loss(batch(*tags), module.path_noise(batch()), module.guidance(batch(*tags)))
        for tags in (("sea", "cat"), ("cat", "sea"))
    )
    assert torch.equal(own["loss_other_context"], swapped["loss"]) and not torch.allclose(
        own["loss"], swapped["loss"]
    )
    alone = {key: value[:1] for key, value in batch("sea").items()}
    found = module.scores.loss(alone, module.path_noise(alone), module.guidance(alone))
    assert len(found["loss"]) == 1 and len(found["loss_other_context"]) == 0, (
        "every rank logs the name, whatever batches it has"
    )


def test_a_vocabulary_comes_from_a_file_and_travels_with_the_weights(tmp_path):
    (tmp_path / "tags.txt").write_text("sea\nboat\n")
    module = LinearSRModule(replace(TAGS, vocabulary=()), vocabulary=str(tmp_path / "tags.txt"))
    weights, config = module.exported()
    assert DenoiserConfig(**{k: v for k, v in config.items() if k != "shift"}).vocabulary == (
        "boat",
        "sea",
    )
    assert weights["tag_table.weight"].shape == (2, 12)
    assert with_vocabulary(TAGS, None) is TAGS


def test_a_checkpoint_with_another_vocabulary_is_refused():
    module = LinearSRModule(TAGS)
    checkpoint = {}
    module.on_save_checkpoint(checkpoint)
    module.on_load_checkpoint(checkpoint)
    other = LinearSRModule(replace(TAGS, vocabulary=(*TAGS.vocabulary[:-1], "lake")))
    with pytest.raises(
        ValueError, match="another vocabulary .5 tags, the model has 5; 'lake' is only in the model"
    ):
        other.on_load_checkpoint(checkpoint)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"guidance": "tags", "context_dim": 0}, "needs context_dim, the channels of the context"),
        ({"guidance": "text"}, "does not fit guidance_encoder"),
        ({"vocabulary": ("a",)}, "a vocabulary needs guidance: tags or words"),
        (
            {"guidance": "tags", "vocabulary": ("a",), "guidance_encoder": "gemma"},
            "does not fit guidance_encoder",
        ),
        ({"guidance": "words"}, "needs a vocabulary"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        LinearSRModule(replace(TINY, **changes))


def test_a_ratio_outside_of_its_range_is_refused():
    with pytest.raises(ValueError, match="null_ratio"):
        LinearSRModule(TAGS, null_ratio=1.1)


def test_a_batch_that_is_asked_more_than_once_is_encoded_once():
    guidance, batch = Guidance(TAGS, 0.0), {"lr": LR, "tags": ["sea", "cat"]}
    batch["context"] = guidance(batch)
    guidance.encoder = None
    assert guidance(batch) is batch["context"]
