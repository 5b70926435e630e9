"""Upscaler: a trained model that upscales photographs of any size."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from lsr.batch import Context
from lsr.distributed.processes import ALONE, Processes
from lsr.guidance.context import context_encoder, encode
from lsr.images.conversion import photograph_of, to_input_type
from lsr.images.hidden_colours import without_hidden_colours
from lsr.images.photograph import Photograph, PictureStream
from lsr.images.rows import resize_rows, upsample_rows
from lsr.inference.color_fix import fix_rows
from lsr.inference.config import DEFAULT_SAMPLING, SamplingConfig, check_scale
from lsr.inference.cuda_graph import replay_transformers
from lsr.inference.memory import MemoryEstimate, MemoryPlan, is_out_of_memory
from lsr.inference.picture_sampler import PictureSampler
from lsr.inference.streams import checked, collect, grey_rows, with_alpha
from lsr.models.checkpoint import load_denoiser
from lsr.models.fidelity import load_blend
from lsr.models.mixture import Model
from lsr.models.pretrained import EMBEDDED, check_fidelity, find_model

T = TypeVar("T")


class Upscaler:
    """Upscales photographs of any size in bounded memory.

    Args:
        denoiser: A trained denoiser, or a mixture of experts, in evaluation mode.
        shift: Shift of the noise schedule that it was trained with.
        sampling: Settings of sampling.
        device: Device to compute on; by default a GPU if there is one.
        cuda_graph: Whether to record the network as a CUDA graph and to replay it from the second
            evaluation with the same input size on, see `lsr.inference.cuda_graph`. This pays off
            for many photographs of one size, or for many steps.

    Raises:
        ValueError: If a model of one sampling step is asked for more.
    """

    def __init__(
        self,
        denoiser: Model,
        shift: float,
        sampling: SamplingConfig = DEFAULT_SAMPLING,
        device: torch.device | str | None = None,
        cuda_graph: bool = False,
    ) -> None:
        sampling.check_steps(denoiser.one_step)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.denoiser = denoiser.to(self.device)
        if cuda_graph:
            replay_transformers(self.denoiser)
        self.shift = shift
        self.sampling = sampling
        self.context_encoder = context_encoder(denoiser.config)
        if self.context_encoder is not None:
            self.context_encoder.prepare()
        self._expected: set[str] = set()

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path = EMBEDDED,
        *,
        fidelity: float | None = None,
        device: torch.device | str | None = None,
        cuda_graph: bool = False,
        **sampling: Any,
    ) -> "Upscaler":
        """Load a model.

        Args:
            path: A `.safetensors` file, a Lightning checkpoint (its averaged weights are used), a
                folder with one of them, or a name on the Hugging Face hub, see
                `lsr.models.pretrained.find_model`; by default the model in this package.
            fidelity: A number from 0 to 1 blends the two models in this package, and `path` has to
                be left out, see `lsr.models.fidelity`.
            device: See `Upscaler`.
            cuda_graph: See `Upscaler`.
            **sampling: Fields of `SamplingConfig`, such as `num_inference_steps=4`.

        Raises:
            TypeError: If a keyword is unknown or its value is of another type.
            ValueError: If a setting is out of its range, there is no such model, the file is no
                model of LinearSR, or both a path and a fidelity are given.
        """
        known = [field.name for field in fields(SamplingConfig)]
        unknown = sorted(sampling.keys() - known)
        if unknown == ["tile"]:
            raise TypeError(
                "pictures are not cut into tiles any more: memory=2 * 2**30 bounds the memory"
            )
        if unknown:
            raise TypeError(
                f"unknown keyword {unknown[0]!r}; settings of sampling are {', '.join(known)}"
            )
        config = SamplingConfig(**sampling)
        if fidelity is None:
            denoiser, shift = load_denoiser(find_model(path))
        else:
            check_fidelity(fidelity, path)
            denoiser, shift = load_blend(fidelity)
        return cls(denoiser, shift, config, device, cuda_graph)

    @property
    def scale(self) -> int:
        """The model's own upscaling factor."""
        return self.denoiser.config.scale

    def upscale(
        self, image: Any, scale: float | None = None, tags: str | Sequence[str] = ""
    ) -> Any:
        """Return an image at `scale` times its size.

        Args:
            image: A `Photograph`; a PIL image; a numpy array (H, W) or (H, W, C), uint8, uint16 or
                floating point in [0, 1]; or a tensor (C, H, W) or (B, C, H, W), uint8 or floating
                point in [0, 1]. C is 1 for grey, 3 for RGB, 4 for RGB and alpha.
            scale: Upscaling factor, any number above 0; by default the model's own.
            tags: Contents of the photograph, as a list or separated by commas, for a model that is
                guided by tags; other models ignore it.

        Returns:
            The upscaled image, of the same type. Its height and width are `round(scale * side)`, at
            least 1.

        Raises:
            TypeError: If scale or tags are of another type.
            ValueError: If the image is of another type or shape, or the scale is not above 0.
            BeyondBudget: If the memory is too small for a picture of this width.
        """
        text = _joined(tags)
        if scale is not None and (isinstance(scale, bool) or not isinstance(scale, Real)):
            raise TypeError(f"scale must be a number, not {type(scale).__name__}")
        results = [
            self.process(photograph, scale, collect, tags=text)
            for photograph in photograph_of(image)
        ]
        return to_input_type(image, results)

    def process(
        self,
        photograph: Photograph,
        scale: float | None,
        consume: Callable[[PictureStream], T],
        watch: Callable[[float], None] = lambda share: None,
        tags: str = "",
        processes: Processes = ALONE,
    ) -> T:
        """Upscale a photograph as a stream of rows.

        If memory runs out, it begins again with less of the picture in memory. Alpha does not go
        through the model: it is upsampled bicubically, and invisible pixels take the colour of the
        nearest visible one before. Bit depth and metadata are kept, and a grey
        photograph stays grey.

        Args:
            photograph: The input.
            scale: See `upscale`.
            consume: Function that reads the result; it is called again after memory ran out.
            watch: Function that is called now and then with the finished share of the work, up to
                1.
            tags: Contents of the photograph, separated by commas, see `upscale`.
            processes: Processes that compute the photograph together; each of them has to call this
                with the same photograph. The stream has its rows in process 0. In the others it has
                none, and reading it computes the part of the process.

        Returns:
            The return value of `consume`.

        Raises:
            ValueError: If the scale is not above 0, or the model's output has NaN.
            MemoryError: If there is too little memory.
        """
        with processes.together():
            photograph = without_hidden_colours(photograph)
            height, width = photograph.pixels.shape[:2]
            plan = self.estimate(height, width, processes).plan()
            stream = partial(
                self._stream,
                photograph,
                self.scale if scale is None else scale,
                watch=watch,
                context=self._context(photograph.pixels, tags),
                processes=processes,
            )
        try:
            with processes.together():
                return consume(stream(plan))
        except Exception as error:
            if not is_out_of_memory(error) or plan == plan.smallest:
                raise
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        with processes.together():
            return consume(stream(plan.smallest))

    def estimate(self, height: int, width: int, processes: Processes = ALONE) -> MemoryEstimate:
        """Return the estimate of the memory for a photograph of a size in pixels."""
        return MemoryEstimate(self.denoiser, self.sampling, self.device, height, width, processes)

    def is_large(self, height: int, width: int) -> bool:
        """Return whether a photograph of a size in pixels is too large for one process.

        One process could upscale it only with a temporary file for its tokens. A photograph of
        which not even one band fits into memory is not helped by more processes.
        """
        try:
            return self.estimate(height, width).plan().in_file
        except MemoryError:
            return False

    def _stream(
        self,
        photograph: Photograph,
        scale: float,
        plan: MemoryPlan,
        watch: Callable[[float], None],
        context: Context | None,
        processes: Processes,
    ) -> PictureStream:
        """Return the result; its rows are computed while they are read."""
        height, width = photograph.pixels.shape[:2]
        size = height * self.scale, width * self.scale
        target = target_size(height, width, scale)
        sampler = PictureSampler(
            denoiser=self.denoiser,
            lr=photograph.pixels,
            shift=self.shift,
            sampling=self.sampling,
            plan=plan,
            device=self.device,
            context=context,
            watch=watch,
            processes=processes,
        )
        if not processes.leads:
            nothing = (block.numpy() for block in sampler.rows())
            return PictureStream(photograph, *target, nothing)
        sr = checked(sampler.rows())
        base = upsample_rows(photograph.pixels, self.scale)
        rows = fix_rows(self.sampling.color_fix, sr, base, size[0])
        if photograph.grey:
            rows = grey_rows(rows)
        if photograph.alpha is not None:
            rows = with_alpha(rows, upsample_rows(photograph.alpha[..., None], self.scale))
        blocks = (block.permute(1, 2, 0).numpy() for block in resize_rows(rows, size, target))
        return PictureStream(photograph, *target, blocks)

    def expect(self, texts: Iterable[str]) -> None:
        """Prepare the tags that photographs will come with.

        A text encoder that is loaded once for all of them is much faster than once for each.
        """
        new = dict.fromkeys(text for text in texts if text not in self._expected)
        if new and self.context_encoder is not None:
            self.context_encoder.prepare_texts(new)
        self._expected |= new.keys()

    def _context(self, pixels: np.ndarray, text: str) -> Context | None:
        """Return the guidance of a photograph, None if it has no tokens."""
        if self.context_encoder is None:
            return None
        self.expect([text])
        rgb = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None]
        lr = rgb.to(self.device) * 2 - 1
        context = encode(self.context_encoder, [text], lr)
        return context if context.mask.any() else None


def _joined(tags: str | Sequence[str]) -> str:
    """Return tags separated by commas; raise TypeError if they are no text and no texts."""
    if isinstance(tags, str):
        return tags
    if not isinstance(tags, Sequence) or not all(isinstance(tag, str) for tag in tags):
        raise TypeError(f"tags must be a text or a list of texts, not {tags!r:.80}")
    return ", ".join(tags)


def target_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """Return the height and width of an image after scaling, each at least 1.

    Raises:
        ValueError: If the scale is not a finite number above 0.
    """
    check_scale(scale)
    return max(1, round(height * scale)), max(1, round(width * scale))
