"""Stage 2 grows only from a published knee, unless an unverified seed is allowed."""

import json
import logging
from dataclasses import asdict, replace

import pytest
import torch
from support.knee_folder import SMALL, publish_experts, publish_knee, random_denoiser

from lsr.experts.config import ExpertsConfig
from lsr.experts.initial_weights import seed_experts
from lsr.inference.sampling import super_resolve
from lsr.knee.folder import read_manifest
from lsr.models.checkpoint import MODEL_CONFIG
from lsr.models.mixture import ExpertMixture


@pytest.fixture
def mixture():
    return ExpertMixture(SMALL, (0.2, 0.6, 0.9))


@pytest.fixture
def last_ckpt(tmp_path):
    model = random_denoiser()
    state = {f"denoiser.{name}": weight for name, weight in model.state_dict().items()}
    torch.save(
        {"state_dict": state, MODEL_CONFIG: asdict(SMALL) | {"shift": 6.0}}, tmp_path / "last.ckpt"
    )
    return tmp_path / "last.ckpt"


def assert_equals_the_knee(mixture):
    knee, generator = random_denoiser(), torch.Generator().manual_seed(0)
    lr, noise = (
        torch.randn(shape, generator=generator) for shape in ((2, 3, 6, 4), (2, 192, 3, 2))
    )
    for steps in (1, 12):
        one, other = (
            super_resolve(model, lr, lambda shape: noise, steps, 6.0) for model in (mixture, knee)
        )
        assert torch.equal(one, other)
    assert one.std() > 0.1


def test_right_after_seeding_the_mixture_is_the_knee_bit_for_bit(mixture, tmp_path):
    seed_experts(mixture, ExpertsConfig(str(publish_knee(tmp_path))))
    assert_equals_the_knee(mixture)
    pointers = [weight.data_ptr() for weight in mixture.state_dict().values()]
    assert len(set(pointers)) == len(pointers), "the experts are copies"


def test_a_provisional_knee_is_refused_in_one_line(mixture, tmp_path):
    found = {"step": 1750, "probability": 0.62, "judged_at_step": 2000, "weights": "w.safetensors"}
    (tmp_path / "provisional.json").write_text(json.dumps(found))
    said = r"holds only a provisional knee \(step 1,750, 62 % likely\): continue that run"
    for allowed in (False, True):
        with pytest.raises(ValueError, match=said) as error:
            seed_experts(mixture, ExpertsConfig(str(tmp_path), allow_unverified_seed=allowed))
        assert "\n" not in str(error.value) and len(str(error.value)) < 250 + len(str(tmp_path))


def test_a_shallower_expert_takes_the_first_blocks_of_the_knee(tmp_path):
    config = replace(SMALL, depth=3)
    mixture = ExpertMixture(config, (0.5,), depths=[1, 3])
    seed_experts(mixture, ExpertsConfig(str(publish_knee(tmp_path, config))))
    knee = random_denoiser(config).state_dict()
    for i, depth in enumerate((1, 3)):
        state = mixture.expert(i).state_dict()
        assert all(torch.equal(weight, knee[name]) for name, weight in state.items())
        assert {name.split(".")[2] for name in state if name.startswith("net.blocks.")} == set(
            map(str, range(depth))
        )


def refusal(mixture, seed, **options):
    with pytest.raises(ValueError) as error:
        seed_experts(mixture, ExpertsConfig(str(seed), **options))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_seed_that_was_changed_is_refused(mixture, tmp_path):
    knee = publish_knee(tmp_path)
    data = bytearray((knee / "seed.safetensors").read_bytes())
    data[-1] ^= 1
    (knee / "seed.safetensors").chmod(0o644)
    (knee / "seed.safetensors").write_bytes(data)
    assert "is not the seed that was published" in refusal(mixture, knee)


def test_a_seed_of_another_architecture_is_refused_by_the_keys_that_differ(mixture, tmp_path):
    knee = publish_knee(tmp_path, replace(SMALL, depth=2, stem_width=16))
    for allow in (False, True):
        message = refusal(mixture, knee, allow_unverified_seed=allow)
        assert (
            "depth is 2 there, but 1 here" in message
            and "stem_width is 16 there, but 8 here" in message
            and "width 32" not in message
        )


def test_a_missing_knee_is_told_with_what_makes_one(mixture, tmp_path):
    for allow in (False, True):
        message = refusal(mixture, tmp_path / "knee", allow_unverified_seed=allow)
        assert "the stage before (make stage1, make stage2) publishes one" in message


def test_a_plain_checkpoint_is_refused(mixture, last_ckpt):
    message = refusal(mixture, last_ckpt)
    assert (
        "last.ckpt: is not the folder of a knee" in message and "allow_unverified_seed" in message
    )


def test_a_plain_checkpoint_is_let_through_with_a_warning_where_that_is_allowed(
    mixture, last_ckpt, caplog
):
    with caplog.at_level(logging.WARNING):
        seed_experts(mixture, ExpertsConfig(str(last_ckpt), allow_unverified_seed=True))
    assert "unverified" in caplog.text and "last.ckpt" in caplog.text
    assert_equals_the_knee(mixture)


def test_experts_of_a_published_knee_go_on_as_they_are(mixture, tmp_path):
    experts = publish_experts(tmp_path, mixture.boundaries)
    digest = seed_experts(mixture, ExpertsConfig(str(tmp_path / "knee")))
    assert digest == read_manifest(tmp_path / "knee")["sha256"]
    weights = mixture.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in experts.state_dict().items())


@pytest.mark.parametrize(
    ("boundaries", "depths", "said"),
    [((0.5,), None, "boundaries [0.5]"), ((0.2, 0.6, 0.9), [1, 1, 1, 1], "depths [1, 1, 1, 1]")],
)
def test_experts_with_other_shares_are_refused(mixture, tmp_path, boundaries, depths, said):
    publish_experts(tmp_path, boundaries, depths)
    message = refusal(mixture, tmp_path / "knee")
    assert f"its experts have {said}" in message and "set experts." in message
