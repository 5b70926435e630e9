import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.published_ram import TAGS, published_weights, save_ram
from transformers import BertConfig
from transformers.models.bert.modeling_bert import BertLayer

from lsr.guidance.taggers.ram import RAMTagger, build_ram
from lsr.guidance.taggers.ram_network import HEADS
from lsr.guidance.taggers.registry import load_tagger

CPU = torch.device("cpu")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)


@pytest.mark.parametrize("plus", [False, True])
def test_the_published_form_is_read_whole_and_tags(tmp_path, pixels, plus):
    tagger = load_tagger("ram++" if plus else "ram", str(save_ram(tmp_path, plus)), None)
    probabilities = tagger.network(tagger.prepare(pixels))[0].sigmoid()
    assert probabilities.std() > 1e-3
    tagger.thresholds = probabilities.sort().values[2].expand(5)
    order = probabilities.argsort(descending=True)
    assert tagger(pixels) == (TAGS[order[0]], TAGS[order[1]]), (
        "the surest first, those at the threshold left out"
    )
    tagger.thresholds = torch.where(torch.arange(5) == order[0], 1.0, probabilities - 1e-3)
    assert tagger(pixels) == tuple(TAGS[i] for i in order[1:]), "every tag has its own threshold"


def test_the_decoder_is_berts_cross_attention_and_feed_forward(pixels):
    """The layer of BERT with the same weights, without its self-attention as in Query2Label."""
    published = published_weights(plus=False)
    network = build_ram(published, len(TAGS), plus=False)
    sizes = {
        "hidden_size": 8,
        "num_attention_heads": HEADS,
        "intermediate_size": 12,
        "layer_norm_eps": 1e-12,
    }
    config = BertConfig(
        **sizes, is_decoder=True, add_cross_attention=True, attn_implementation="eager"
    )
    layer = BertLayer(config).eval()
    name = "tagging_head.encoder.layer.1."
    theirs = {
        key.removeprefix(name): value for key, value in published.items() if key.startswith(name)
    }
    found = layer.load_state_dict(theirs, strict=False)
    assert not found.unexpected_keys and all(
        key.startswith("attention.") for key in found.missing_keys
    )
    generator = torch.Generator().manual_seed(0)
    tags, image = (
        torch.randn(2, 5, 8, generator=generator),
        torch.randn(2, 7, 8, generator=generator),
    )
    attended = layer.crossattention(tags, encoder_hidden_states=image)[0]
    torch.testing.assert_close(
        network.decoder[1](tags, image), layer.feed_forward_chunk(attended), rtol=1e-4, atol=1e-5
    )


def test_ram_plus_mixes_the_descriptions_of_each_tag_by_their_likeness_to_the_image():
    published = published_weights(plus=True)
    network = build_ram(published, len(TAGS), plus=True)
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    labels = published["label_embed"].reshape(5, 3, 8)
    tokens = network.visual_encoder.forward_features(image).flatten(1, 2)
    whole = F.normalize(
        F.linear(tokens.mean(1), published["image_proj.weight"], published["image_proj.bias"]),
        dim=-1,
    )
    expected = torch.zeros(2, 5, 8)
    for b in range(2):
        for c in range(5):
            likeness = published["reweight_scale"].exp() * labels[c] @ whole[b]
            expected[b, c] = likeness.softmax(0) @ labels[c]
    seen = []
    network.wordvec_proj.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(image)
    torch.testing.assert_close(seen[0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("fc.bias"), "1 missing, such as fc.bias"),
        (lambda w: w.update({"head.weight": torch.zeros(1)}), "1 left over, such as head.weight"),
        (lambda w: w.pop("label_embed"), "the weight label_embed is missing"),
        (
            lambda w: w.update({"label_embed": torch.zeros(7, 8)}),
            "7 embeddings of tags, which is no multiple of the 5 tags",
        ),
        (
            lambda w: w.update({"image_proj.weight": torch.zeros(8, 9)}),
            r"contradict each other .*\(first mismatch: image_proj.weight\)",
        ),
        (
            lambda w: w.update(
                reweight_scale=w.pop("reweight_scale"), label_embed=w["label_embed"][:5]
            ),
            "weights of RAM: choose --tagger",
        ),
    ],
)
def test_weights_of_something_else_are_told_by_name(change, message):
    weights = published_weights(plus=True)
    change(weights)
    with pytest.raises(ValueError, match=message):
        build_ram(weights, len(TAGS), plus=True)


def test_the_older_name_of_the_head_will_do():
    renamed = {
        name.replace("tagging_head", "vision_multi"): weight
        for name, weight in published_weights(False).items()
    }
    build_ram(renamed, len(TAGS), plus=False)


def test_what_is_missing_is_told_in_one_line(tmp_path):
    with pytest.raises(
        ValueError, match="ram_plus_swin_large_14m.pth .huggingface.co.*into one folder.*--weights"
    ):
        RAMTagger(tmp_path / "ram.pth", True, CPU)
    path = save_ram(tmp_path, plus=False)
    path.write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="not a checkpoint"):
        RAMTagger(path, False, CPU)
    (tmp_path / "ram_tag_list_threshold.txt").unlink()
    with pytest.raises(ValueError, match="ram_tag_list_threshold.txt not found"):
        RAMTagger(path, False, CPU)
    (tmp_path / "ram_tag_list_threshold.txt").write_text("0.5\n")
    with pytest.raises(
        ValueError, match="has 5 tags, but ram_tag_list_threshold.txt has 1 thresholds"
    ):
        RAMTagger(path, False, CPU)
    with pytest.raises(
        ValueError, match="tagger ram has its own list of tags: leave out --tags-list"
    ):
        load_tagger("ram", str(path), tmp_path / "tags.txt")
