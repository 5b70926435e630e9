import shutil

import pytest
import torch
from support.pretrained_folders import save_text_encoder

from lsr.files import default_cache
from lsr.guidance.text_encoder import FrozenText

LR = torch.zeros(1, 3, 4, 4)
TEXTS = ["sea, boat", "cat", "", "old pier, castle, sea"]


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=["gemma", "t5", "clip"])
def saved(request, tmp_path):
    folder = tmp_path / request.param
    return folder, save_text_encoder(folder, request.param)


def embedded(folder, texts, max_tokens=20):
    encoder = FrozenText(str(folder), 16, max_tokens)
    encoder.prepare()
    encoder.prepare_texts(texts)
    return encoder(texts, LR)


def test_embeddings_are_the_last_states_of_the_real_tokens(saved):
    folder, model = saved
    rows = embedded(folder, TEXTS)
    assert [len(row) for row in rows] == [4, 2, 0, 7], (
        "words, commas and the end; an empty text has nothing"
    )
    reader = getattr(model, "text_model", None) or (
        model.get_encoder() if hasattr(model, "encoder") else model.model
    )
    with torch.no_grad():
        expected = reader(input_ids=torch.tensor([[3, 9, 4, 2]])).last_hidden_state[0]
    torch.testing.assert_close(rows[0], expected, rtol=2**-7, atol=2**-7)


def test_a_second_start_only_reads(saved):
    folder, _ = saved
    first = embedded(folder, TEXTS)
    shards = sorted((default_cache() / "embeddings").rglob("*.safetensors"))
    assert shards
    again = FrozenText(str(folder), 16, 20)
    again.prepare()
    again._embed = None
    again.prepare_texts(TEXTS)
    for row, before in zip(again(TEXTS, LR), first, strict=True):
        assert torch.equal(row, before)
    assert sorted((default_cache() / "embeddings").rglob("*.safetensors")) == shards


def test_what_another_rank_has_embedded_meanwhile_is_only_read(saved):
    folder, _ = saved
    waiting = FrozenText(str(folder), 16, 20)
    waiting.prepare()
    first = embedded(folder, TEXTS)
    waiting._embed = None
    waiting.prepare_texts(TEXTS)
    assert all(
        torch.equal(row, there) for row, there in zip(waiting(TEXTS, LR), first, strict=True)
    )


def test_other_weights_have_embeddings_of_their_own(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    save_text_encoder(one, "t5")
    save_text_encoder(other, "t5", seed=1)
    assert not torch.allclose(embedded(one, ["sea"])[0], embedded(other, ["sea"])[0], atol=1e-2)


def test_the_folder_of_a_pipeline_will_do(tmp_path):
    folder = tmp_path / "sana"
    save_text_encoder(folder / "text_encoder", "gemma", folder / "tokenizer")
    assert len(embedded(folder, ["sea"])[0]) == 2


def test_long_texts_are_cut(tmp_path):
    save_text_encoder(tmp_path / "t5", "t5")
    assert len(embedded(tmp_path / "t5", [", ".join(["sea"] * 5000)], max_tokens=9)[0]) == 9


def test_a_text_that_was_not_to_be_remembered_is_an_error(tmp_path):
    save_text_encoder(tmp_path / "t5", "t5")
    encoder = FrozenText(str(tmp_path / "t5"), 16, 20)
    encoder.prepare()
    with pytest.raises(ValueError, match="'sea' has no embedding"):
        encoder(["sea"], LR)


def test_what_is_missing_is_told_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="fetch it with `hf download google/gemma-2-2b-it`"):
        FrozenText("google/gemma-2-2b-it", 2304, 300).prepare()
    save_text_encoder(tmp_path / "t5", "t5")
    with pytest.raises(
        ValueError, match="has 16 channels, not 32: set model.denoiser.context_dim to 16"
    ):
        FrozenText(str(tmp_path / "t5"), 32, 300).prepare()
    shutil.copytree(tmp_path / "t5", tmp_path / "torn")
    (tmp_path / "torn" / "model.safetensors").write_bytes(b"nonsense")
    torn = FrozenText(str(tmp_path / "torn"), 16, 300)
    torn.prepare()
    with pytest.raises(ValueError, match="cannot be loaded"):
        torn.prepare_texts(["sea"])
    (tmp_path / "t5" / "config.json").unlink()
    with pytest.raises(ValueError, match="no text encoder in this folder"):
        FrozenText(str(tmp_path / "t5"), 16, 300).prepare()
