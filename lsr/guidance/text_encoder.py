"""Encode texts by a frozen language model (Gemma-2 as in SANA, T5, the text model of CLIP ...)."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lsr.console.progress_bar import progress_bar
from lsr.files import default_cache
from lsr.guidance.embedding_cache import EmbeddingCache, fingerprint
from lsr.guidance.pretrained import load_pretrained, pretrained_folder, read_config

_BATCH = 32
_SHARD = 512
"""Texts in a shard of the cache; a process that is killed loses at most one shard."""


class FrozenText:
    """The last hidden states of a frozen language model for a text.

    The model is loaded only to embed texts that are not on the disk yet, and freed afterwards:
    training and sampling read the disk. The embeddings are stored in bfloat16 in a folder below
    `~/.cache/linearsr/embeddings`, whose name depends on the contents of the encoder's files and on
    `max_tokens`. Texts are embedded in padded batches, so an embedding may depend on the other
    texts of its batch by rounding errors of this precision. An empty text has no tokens.

    The text is not changed. SANA puts an instruction in front that asks the language model for a
    longer description; short tags are the opposite of it.

    Args:
        source: A folder in the format of transformers, the folder of a pipeline with `text_encoder`
            and `tokenizer` in it (such as SANA's), or the name of a model on the Hugging Face hub.
        width: Number of channels that the hidden states must have.
        max_tokens: Largest number of tokens of a text; further tokens are cut off.
    """

    def __init__(self, source: str, width: int, max_tokens: int) -> None:
        self.source = source
        self.width = width
        self.max_tokens = max_tokens
        self._cache: EmbeddingCache | None = None
        self._model_folder = Path()
        self._tokenizer_folder = Path()

    def prepare(self) -> None:
        """Find the files of the encoder, and open the cache of its embeddings.

        Raises:
            ValueError: If the encoder is missing, or has another width.
        """
        if self._cache is not None:
            return
        folder = pretrained_folder(self.source, "text encoder")
        self._model_folder = _subfolder(folder, "text_encoder")
        self._tokenizer_folder = _subfolder(folder, "tokenizer")
        config = read_config(self._model_folder, "text encoder")
        config = config.get("text_config", config)
        width = config.get("hidden_size", config.get("d_model"))
        if width != self.width:
            raise ValueError(
                f"the text encoder {self.source} has {width} channels, not {self.width}: "
                f"set model.denoiser.context_dim to {width}"
            )
        model = fingerprint(self._model_folder)[:16]
        tokenizer = fingerprint(self._tokenizer_folder)[:8]
        identity = f"{model}-{tokenizer}-{self.max_tokens}"
        self._cache = EmbeddingCache(default_cache() / "embeddings" / identity)

    def prepare_texts(self, texts: Iterable[str]) -> None:
        """Embed the texts that are not on the disk yet.

        Raises:
            ValueError: If the encoder cannot be loaded.
        """
        self.prepare()
        assert self._cache is not None
        self._cache.refresh()
        new = {text for text in texts if text and text not in self._cache}
        # Texts of similar length share a batch, which keeps the padding short.
        missing = sorted(new, key=lambda text: (len(text), text))
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
        """Return the hidden states (L, width) float32 of each text from the disk.

        Raises:
            ValueError: If a text was not given to `prepare_texts`.
        """
        assert self._cache is not None
        unknown = next((text for text in texts if text and text not in self._cache), None)
        if unknown is not None:
            raise ValueError(
                f"the text {unknown[:60]!r} has no embedding: the tags have changed since the "
                "start of the run; start it again"
            )
        return [self._cache[text].float() if text else torch.zeros(0, self.width) for text in texts]

    @torch.no_grad()
    def _embed(self, texts: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
        """Load the model, and yield each text with its hidden states (L, width)."""
        from transformers import AutoTokenizer

        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        tokenizer = load_pretrained(
            AutoTokenizer.from_pretrained, self._tokenizer_folder, "tokenizer"
        )
        model = _language_model(self._model_folder, dtype).to(device).eval()
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
            for text, row, real in zip(batch, states, mask, strict=True):
                yield text, row[real.bool()]


def _subfolder(folder: Path, name: str) -> Path:
    """Return a subfolder if it exists, as in the folder of a pipeline; else the folder itself."""
    return folder / name if (folder / name).is_dir() else folder


def _language_model(folder: Path, dtype: torch.dtype) -> Any:
    """Load the part of a model that encodes text.

    It is the encoder of T5, the text model of CLIP, or a causal language model without its head.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForTextEncoding, CLIPTextModel
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

    config = load_pretrained(AutoConfig.from_pretrained, folder, "text encoder")
    kind: Any = AutoModel
    if config.model_type == "clip":
        kind = CLIPTextModel
    elif type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING:
        kind = AutoModelForTextEncoding
    return load_pretrained(kind.from_pretrained, folder, "text encoder", dtype=dtype)
