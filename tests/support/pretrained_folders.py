"""Small random encoders in the form that transformers writes and the hub has."""

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[EOS]", "sea", "boat", "cat", "castle", "old", "pier", ","]


def save_tokenizer(folder):
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 2)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]"
    )
    fast.save_pretrained(folder)


def save_text_encoder(folder, kind, tokenizer_folder=None, seed=0):
    """Write a Gemma-2, T5 or CLIP of 16 channels; returns it."""
    from transformers import (
        CLIPConfig,
        CLIPModel,
        Gemma2Config,
        Gemma2ForCausalLM,
        T5Config,
        T5ForConditionalGeneration,
    )

    sizes = {"vocab_size": len(WORDS), "pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 1}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if kind == "gemma":
            heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
            model = Gemma2ForCausalLM(
                Gemma2Config(
                    hidden_size=16, intermediate_size=32, num_hidden_layers=2, **heads, **sizes
                )
            )
        elif kind == "t5":
            model = T5ForConditionalGeneration(
                T5Config(
                    d_model=16,
                    d_kv=8,
                    d_ff=32,
                    num_layers=2,
                    num_heads=2,
                    decoder_start_token_id=0,
                    **sizes,
                )
            )
        else:
            text = {
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
            }
            vision = text | {"image_size": 24, "patch_size": 8}
            model = CLIPModel(
                CLIPConfig(
                    text_config=text | sizes | {"max_position_embeddings": 20},
                    vision_config=vision,
                    projection_dim=12,
                )
            )
    model.save_pretrained(folder)
    save_tokenizer(tokenizer_folder or folder)
    return model.eval()
