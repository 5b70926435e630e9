"""A frozen language model through transformers: Gemma-2 as in SANA, T5, CLIP's text encoder, or another."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lsr.files import default_cache
from lsr.guidance.embedding_cache import EmbeddingCache, fingerprint
from lsr.guidance.pretrained import loaded, pretrained_folder, read_config
from lsr.progress_bar import progress_bar

_BATCH = 32
_SHARD = 512  # texts in a shard of the cache: what a kill costs


class FrozenText:
    """The last hidden states of a language model for a text.

    The model is loaded to embed texts that are not on the disk yet, and then let go: training and sampling only read. Embeddings are
    kept in bfloat16 below `~/.cache/linearsr/embeddings`, by the contents of the encoder's files, the limit of tokens and the text; a text
    embedded together with others of another length may differ by the rounding of that precision. An empty text has no tokens.

    The text goes in as it is. SANA's own prompt has an instruction in front, which asks for a longer description: the opposite of
    short tags.

    Args:
        source: A folder of transformers, a pipeline's folder with `text_encoder` and `tokenizer` in it (SANA's own), or a name on the hub.
        width: Channels that the states must have.
        max_tokens: Tokens of a text at most; the rest is cut off.
    """

    def __init__(self, source: str, width: int, max_tokens: int) -> None:
        self.source, self.width, self.max_tokens = source, width, max_tokens
        self._cache: EmbeddingCache | None = None
        self._model_folder = self._tokenizer_folder = Path()

    def prepare(self) -> None:
        """Look for the encoder and for what it has embedded before.

        Raises:
            ValueError: If it is missing, or has another width.
        """
        if self._cache is not None:
            return
        folder = pretrained_folder(self.source, "text encoder")
        self._model_folder = (
            folder / "text_encoder" if (folder / "text_encoder").is_dir() else folder
        )
        self._tokenizer_folder = folder / "tokenizer" if (folder / "tokenizer").is_dir() else folder
        config = read_config(self._model_folder, "text encoder")
        config = config.get("text_config", config)
        width = config.get("hidden_size", config.get("d_model"))
        if width != self.width:
            raise ValueError(
                f"the text encoder {self.source} has {width} channels, not {self.width}: set model.denoiser.context_dim"
            )
        identity = f"{fingerprint(self._model_folder)[:16]}-{fingerprint(self._tokenizer_folder)[:8]}-{self.max_tokens}"
        self._cache = EmbeddingCache(default_cache() / "embeddings" / identity)

    def remember(self, texts: Iterable[str]) -> None:
        """Embed the texts that are not on the disk yet.

        Raises:
            ValueError: If the encoder cannot be loaded.
        """
        self.prepare()
        assert self._cache is not None
        self._cache.look()
        missing = sorted(
            {text for text in texts if text and text not in self._cache},
            key=lambda text: (len(text), text),
        )
        if not missing:
            return
        with progress_bar(f"embedding texts by {self.source}", len(missing), "texts") as bar:
            shard: dict[str, Tensor] = {}
            for text, tokens in self._embed(missing):
                shard[text] = tokens
                bar.advance(1)
                if len(shard) == _SHARD:
                    self._cache.add(shard)
                    shard = {}
            if shard:
                self._cache.add(shard)

    def __call__(self, texts: Sequence[str], lr: Tensor) -> list[Tensor]:
        """Return the states (L, width) float32 of each text, from the disk.

        Raises:
            ValueError: If a text was not among those to remember.
        """
        assert self._cache is not None
        unknown = next((text for text in texts if text and text not in self._cache), None)
        if unknown is not None:
            raise ValueError(
                f"the text {unknown[:60]!r} has not been embedded: tags have changed since the start; start again"
            )
        return [self._cache[text].float() if text else torch.zeros(0, self.width) for text in texts]

    @torch.no_grad()
    def _embed(self, texts: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        from transformers import AutoTokenizer

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        tokenizer = loaded(AutoTokenizer.from_pretrained, self._tokenizer_folder, "tokenizer")
        model = (
            _language_model(
                self._model_folder, torch.bfloat16 if device.type == "cuda" else torch.float32
            )
            .to(device)
            .eval()
        )
        tokenizer.padding_side = "right"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        for start in range(0, len(texts), _BATCH):
            batch = list(texts[start : start + _BATCH])
            inputs = tokenizer(
                batch,
                padding=True,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            ).to(device)
            mask = inputs["attention_mask"]
            states = model(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state
            yield from zip(
                batch,
                (row[real.bool()] for row, real in zip(states, mask, strict=True)),
                strict=True,
            )


def _language_model(folder: Path, dtype: torch.dtype) -> Any:
    """Load the part of a model that reads text: of T5 the encoder, of CLIP the text tower, of a causal model the states below its head."""
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, CLIPTextModel
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

    config = loaded(AutoConfig.from_pretrained, folder, "text encoder")
    if config.model_type == "clip":
        kind: Any = CLIPTextModel
    else:
        kind = (
            AutoModelForTextEncoding
            if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING
            else AutoModel
        )
    return loaded(kind.from_pretrained, folder, "text encoder", dtype=dtype)
