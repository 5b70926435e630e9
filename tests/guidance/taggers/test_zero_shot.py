import pytest
import torch
from support.pretrained_folders import save_text_encoder, save_tokenizer
from transformers import (
    CLIPImageProcessor,
    CLIPProcessor,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
    SiglipProcessor,
)

from lsr.guidance.taggers.registry import load_tagger
from lsr.guidance.taggers.zero_shot import ZeroShotTagger

TAGS = ("sea", "boat", "cat", "castle", "old pier")


@pytest.fixture(params=["clip", "siglip"])
def folder(request, tmp_path):
    folder = tmp_path / request.param
    if request.param == "clip":
        save_text_encoder(folder, "clip")
        images, kind = CLIPImageProcessor(crop_size=24, size={"shortest_edge": 24}), CLIPProcessor
    else:
        text = {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
        }
        vision = text | {"image_size": 24, "patch_size": 8}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = SiglipModel(
                SiglipConfig(
                    text_config=text | {"vocab_size": 10, "max_position_embeddings": 12},
                    vision_config=vision,
                )
            )
        model.save_pretrained(folder)
        images, kind = SiglipImageProcessor(size={"height": 24, "width": 24}), SiglipProcessor
    save_tokenizer(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, model_max_length=12)
    kind(image_processor=images, tokenizer=tokenizer).save_pretrained(folder)
    return folder


def test_the_surest_tags_come_first_and_the_unlikely_do_not_come(folder, photo):
    tagger = ZeroShotTagger(str(folder), TAGS, torch.device("cpu"))
    everything = tagger(photo)
    assert set(everything) <= set(TAGS) and everything
    _, image = tagger._embed([""], photo)
    with torch.no_grad():
        tagger._texts[2] = image[0]
        tagger._texts[3] = -image[0]
        tagger._model.logit_scale.fill_(4.0)
    chosen = tagger(photo)
    assert chosen[0] == "cat" and "castle" not in chosen


def test_at_most_ten(folder, photo):
    tagger = ZeroShotTagger(str(folder), [f"cat {i}" for i in range(80)], torch.device("cpu"))
    assert len(tagger._texts) == 80 and len(tagger(photo)) == 10


def test_what_is_missing_is_told_in_one_line(tmp_path, folder):
    with pytest.raises(
        ValueError, match="fetch it with `hf download openai/clip-vit-base-patch32`"
    ):
        ZeroShotTagger("openai/clip-vit-base-patch32", TAGS, torch.device("cpu"))
    with pytest.raises(ValueError, match="needs --tags-list"):
        load_tagger("clip", str(folder), None)
    save_text_encoder(tmp_path / "t5", "t5")
    with pytest.raises(ValueError, match="cannot be loaded|neither CLIP nor SigLIP"):
        ZeroShotTagger(str(tmp_path / "t5"), TAGS, torch.device("cpu"))
