import pytest
import torch
from transformers import CLIPImageProcessor, Dinov2Config, Dinov2Model

from lsr.guidance.visual_encoder import FrozenVisual


@pytest.fixture
def dino(tmp_path):
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Dinov2Model(Dinov2Config(**sizes)).eval()
    model.save_pretrained(tmp_path)
    processor = CLIPImageProcessor(
        crop_size=28,
        size={"shortest_edge": 32},
        image_mean=[0.5, 0.4, 0.3],
        image_std=[0.2, 0.3, 0.4],
    )
    processor.save_pretrained(tmp_path)
    return tmp_path, model


def test_context_is_what_the_encoder_sees_in_the_lr_image(dino, generator):
    folder, model = dino
    encoder = FrozenVisual(str(folder), 16)
    encoder.prepare()
    lr = torch.rand(2, 3, 28, 28, generator=generator) * 2 - 1
    rows = encoder(["", ""], lr)
    pixels = ((lr + 1) / 2 - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor(
        [0.2, 0.3, 0.4]
    )[:, None, None]
    with torch.no_grad():
        expected = model(pixel_values=pixels).last_hidden_state
    torch.testing.assert_close(torch.stack(rows), expected, rtol=1e-4, atol=1e-4)
    assert rows[0].shape == (5, 16), "four patches and the class token"
    assert encoder([""], lr[:1, :, :9, :13])[0].shape == (5, 16), "whatever the size"


def test_what_is_missing_is_told_in_one_line(dino):
    with pytest.raises(ValueError, match="fetch it with `hf download facebook/dinov2-small`"):
        FrozenVisual("facebook/dinov2-small", 384).prepare()
    with pytest.raises(
        ValueError, match="has 16 channels, not 384: set model.denoiser.context_dim to 16"
    ):
        FrozenVisual(str(dino[0]), 384).prepare()
