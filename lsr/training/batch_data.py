"""Check that data and model belong together, and take from a batch what the model learns."""

from typing import Any

from torch import Tensor

from lsr.batch import Batch, CutsCrops, HasScale, HasTeacher
from lsr.models.autoencoder_dc import check_same_latents
from lsr.models.condition import Condition
from lsr.models.denoiser import flow_data
from lsr.models.mixture import Model


def check_data(trainer: Any, model: Model, stage: str) -> None:
    """Check what a DataModule declares about its samples.

    Args:
        trainer: Lightning's trainer; what its DataModule does not declare is not checked.
        model: The model that will get its batches.
        stage: Lightning's stage. Prediction needs no ground truth, so any scale will do.

    Raises:
        ValueError: If the scales differ, crops are not whole tokens, or another autoencoder made
            the cached latents.
    """
    data: object = trainer.datamodule
    if isinstance(data, HasScale) and stage != "predict":
        _check_scale(data.scale, model.config.scale)
    if stage == "fit":
        if isinstance(data, CutsCrops) and data.crop_size is not None:
            _check_crops(data.crop_size, model.space.factor)
        check_same_latents(model.space, data)


def check_teacher(trainer: Any) -> None:
    """Check that the DataModule has results of a teacher.

    Raises:
        ValueError: If it has none.
    """
    data: object = trainer.datamodule
    if not isinstance(data, HasTeacher) or data.teacher is None:
        raise ValueError(
            "student.teacher_l1_weight, gradient_l1_weight, unet.feature_weight and real: teacher "
            "need a teacher: set data.init_args.teacher of PairedDataModule, or teacher_steps"
        )


def check_batch(batch: Batch, model: Model) -> None:
    """Check the sizes of a batch; it costs nothing, as sizes are known on the host.

    Raises:
        ValueError: If the HR images are not as much larger than the LR images as the model makes
            them.
    """
    if "hr" not in batch:
        return
    small: Any = batch["lr"].shape[-2:]
    large: Any = batch["hr"].shape[-2:]
    scale = model.config.scale
    if tuple(large) != (scale * small[0], scale * small[1]):
        raise ValueError(
            f"the data have HR images of {large[0]} x {large[1]} pixels for LR images of "
            f"{small[0]} x {small[1]}, but the model enlarges {scale} times: "
            "set the scale of the data, or model.denoiser.scale"
        )


def data_of_batch(batch: Batch, model: Model, condition: Condition) -> Tensor:
    """Return the data x_0 (B, C, H / f, W / f) of the flow, from cached latents if there are any.

    Raises:
        ValueError: If the sizes of the batch do not fit the model.
    """
    check_batch(batch, model)
    if "latent" in batch:
        return flow_data(batch["latent"], condition, model.config)
    assert "hr" in batch
    return model.encode(batch["hr"], condition)


def _check_crops(side: int, factor: int) -> None:
    below = side - side % factor
    if below != side:
        choices = " or ".join(str(each) for each in (below, below + factor) if each)
        raise ValueError(
            f"crops of {side} pixels are not whole tokens of {factor} pixels: "
            f"set data.init_args.crop_size {choices}"
        )


def _check_scale(data: int, model: int) -> None:
    if data != model:
        raise ValueError(
            f"the data have scale {data}, but the model enlarges {model} times: "
            f"set data.init_args.scale {model}, or model.denoiser.scale {data}"
        )
