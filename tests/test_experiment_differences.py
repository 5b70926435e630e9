"""Experiments differ from each other where they are meant to, and nowhere else."""

import pytest
import yaml
from support.processes import ROOT

EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.yaml"))

KNEE = "callbacks.KneePointCallback"
START = "trainer.default_root_dir trainer.max_steps"
STAGE_2_OF_1 = f"""
    {START} {KNEE} callbacks.ExpertQuality data.seed model.optimizer.lr
    model.optimizer.warmup_steps model.experts.seed model.experts.boundaries
    model.experts.allow_unverified_seed
"""
TUNED = f"{START} {KNEE} data.seed model.optimizer.lr model.experts.seed"

STUDENT = f"""
    {START} {KNEE} callbacks.AttentionHealth data.seed trainer.gradient_clip_val
    model.optimizer.lr model.optimizer.weight_decay model.optimizer.warmup_steps
    model.discriminator_optimizer.lr model.discriminator_optimizer.weight_decay
    model.discriminator_optimizer.betas model.discriminator_optimizer.warmup_steps
    model.init_from model.student.l1_weight model.student.lpips_weight
    model.student.gradient_clip_val model.student.ladd.weight model.student.ladd.channels
    model.student.ladd.r1_weight model.student.ladd.times.shift
"""
UNET = "model.student.unet.weight model.student.unet.channels"

BLUR_AND_NOISE = " ".join(
    f"data.degradation_changes.{name}"
    for name in (
        "kernel_sizes_1 kernel_probabilities sinc_probability sigma_1 resize_1_probabilities "
        "gaussian_probability grey_probability gaussian_1 jpeg_quality_1 jpeg_quality_2 "
        "second_stage_probability final_sinc_probability"
    ).split()
)

DIFFERENCES = {
    ("tiny/stage1", "linearsr/stage1"): f"""
        {START} {KNEE} callbacks.EMA callbacks.ImageGrid
        data.train data.val data.test data.degradation data.crop_size data.val_crop_size
        data.max_images data.batch_size data.val_batch_size data.num_workers
        model.denoiser.autoencoder model.denoiser.patch_size model.denoiser.residual_std
        model.denoiser.prediction model.denoiser.width model.denoiser.depth
        model.denoiser.cross_heads model.denoiser.context_dim model.denoiser.guidance
        model.denoiser.guidance_encoder model.null_ratio model.init_from
        model.optimizer.lr model.optimizer.weight_decay model.optimizer.warmup_steps
        model.shift model.terminal_fraction model.num_inference_steps
        model.val_metrics model.niqe_parameters
        trainer.strategy trainer.precision trainer.accumulate_grad_batches
        trainer.gradient_clip_val trainer.log_every_n_steps trainer.val_check_interval
    """,
    ("tiny/stage1", "photos/stage1"): f"""
        {START} {KNEE} callbacks.EMA callbacks.ImageGrid
        data.train data.val data.test data.val_real data.val_real_size data.max_images
        data.degradation data.degradation_changes.usm_target data.crop_size data.batch_size
        model.denoiser.width model.denoiser.depth model.optimizer.warmup_steps
        model.shift model.terminal_fraction model.l1_weight
        model.val_metrics model.niqe_parameters
        trainer.log_every_n_steps trainer.val_check_interval
    """,
    ("tiny/stage1", "ablations/guidance/none"): f"""
        {START} {KNEE} callbacks.ImageGrid callbacks.PredictionWriter
        data.tags_file data.val_batch_size
        model.denoiser.cross_heads model.denoiser.guidance model.null_ratio
        model.guidance_scale model.terminal_fraction model.val_metrics model.niqe_parameters
        trainer.num_sanity_val_steps trainer.log_every_n_steps trainer.val_check_interval
    """,
    ("tiny/stage1", "tiny/stage2"): STAGE_2_OF_1 + "model.terminal_fraction",
    ("linearsr/stage1", "linearsr/stage2"): STAGE_2_OF_1 + "model.experts.n model.init_from",
    ("photos/stage1", "photos/stage2"): (STAGE_2_OF_1 + "callbacks.EMA trainer.val_check_interval"),
    ("tiny/stage2", "tiny/sft"): TUNED,
    ("linearsr/stage2", "linearsr/sft"): TUNED + " data.train",
    ("tiny/stage1", "tiny/stage3"): STUDENT + UNET + " model.terminal_fraction data.batch_size",
    ("photos/stage1", "photos/stage3"): (
        STUDENT + UNET + " model.terminal_fraction model.l1_weight"
    ),
    ("linearsr/stage1", "linearsr/stage3"): (
        STUDENT.replace("model.optimizer.weight_decay", "")
        + "model.student.ladd.blocks model.num_inference_steps trainer.val_check_interval"
    ),
    ("photos/stage3", "embedded/stage3"): f"""
        {START} {KNEE} callbacks.EMA callbacks.ImageGrid callbacks.ModelCheckpoint
        callbacks.PredictionWriter logger.TensorBoardLogger
        data.class_path data.train data.teacher data.val data.test data.val_real data.val_real_size
        data.degradation data.degradation_changes.usm_target data.crop_size data.val_crop_size
        data.max_images data.num_workers data.seed
        model.denoiser.head_width model.denoiser.head_depth model.init_from
        model.optimizer.lr model.optimizer.warmup_steps model.discriminator_optimizer.betas
        model.student.l1_weight model.student.teacher_l1_weight model.student.gradient_l1_weight
        model.student.low_pass_l1_weight model.student.real model.student.noise
        model.student.ladd.weight model.student.ladd.channels model.student.ladd.r1_weight
        model.student.ladd.times.shift {UNET} model.student.unet.feature_weight
        trainer.num_sanity_val_steps
    """,
    ("tiny/stage1", "esgf/stage1"): f"""
        {START} {KNEE} callbacks.ImageGrid callbacks.PredictionWriter callbacks.ModelCheckpoint
        model.val_metrics model.niqe_parameters trainer.val_check_interval
    """,
    ("tiny/stage2", "esgf/stage2"): f"""
        {START} {KNEE} callbacks.EMA callbacks.ImageGrid callbacks.ExpertQuality
        callbacks.PredictionWriter callbacks.NaiveSums data.crop_size data.batch_size
        model.experts.seed model.experts.allow_unverified_seed model.optimizer.lr
        model.optimizer.warmup_steps model.val_metrics model.niqe_parameters
        trainer.val_check_interval trainer.num_sanity_val_steps trainer.log_every_n_steps
    """,
    ("photos/stage1", "photos/tags"): f"""
        {START} {KNEE} data.tags_file data.max_images data.val_real data.val_real_size
        model.denoiser.guidance model.denoiser.context_dim model.denoiser.cross_heads
        model.null_ratio model.val_metrics
    """,
    ("photos/stage2", "photos/compare"): f"""
        {START} callbacks.EMA callbacks.ExpertQuality callbacks.ImageGrid
        callbacks.PredictionWriter callbacks.NaiveSums data.val_real data.val_real_size
        model.experts.allow_unverified_seed model.optimizer.warmup_steps model.val_metrics
        trainer.num_sanity_val_steps trainer.log_every_n_steps trainer.val_check_interval
    """,
    ("tiny/stage2", "ablations/experts/four_published"): f"""
        {KNEE} trainer.default_root_dir trainer.val_check_interval data.batch_size model.experts.n
    """,
    **{
        ("ablations/experts/four_published", f"ablations/experts/{name}"): (
            f"trainer.default_root_dir model.experts.boundaries {own}"
        )
        for name, own in {
            "four_uniform": "",
            "four_bisected": "model.experts.t_range",
            "two": "model.experts.n",
            "single": "model.experts.n",
        }.items()
    },
    ("ablations/guidance/tags", "guidance_proof/tags"): f"""
        trainer.default_root_dir trainer.val_check_interval {BLUR_AND_NOISE}
        data.train data.val data.test data.crop_size data.val_crop_size data.val_batch_size
        data.batch_size data.degradation model.denoiser.patch_size model.denoiser.stem_width
        model.denoiser.residual_std model.denoiser.vocabulary model.optimizer.warmup_steps
        model.shift model.terminal_fraction
    """,
    **{
        ("guidance_proof/tags", f"guidance_proof/{name}"): f"trainer.default_root_dir {own}"
        for name, own in {
            "shuffled": "data.tags_file",
            "caption": "data.tags_file model.denoiser.guidance model.denoiser.vocabulary",
            "none": (
                "model.denoiser.guidance model.denoiser.context_dim model.denoiser.vocabulary"
            ),
        }.items()
    },
    **{
        ("ablations/guidance/none", f"ablations/guidance/{name}"): (
            f"trainer.default_root_dir model.denoiser.guidance model.denoiser.context_dim {own}"
        )
        for name, own in {
            "tags": "model.denoiser.vocabulary",
            "caption": "model.denoiser.vocabulary data.tags_file",
            "visual": "model.denoiser.guidance_encoder",
        }.items()
    },
}
"""The settings in which two experiments differ on purpose."""


def settings(name):
    """Return the settings of an experiment by dotted name; a callback counts as one setting."""
    config = yaml.safe_load((ROOT / "experiments" / f"{name}.yaml").read_text())
    config["data"] |= config["data"].pop("init_args")
    for group in ("callbacks", "logger"):
        for each in config["trainer"].pop(group):
            path = f"{group}.{each['class_path'].rpartition('.')[2]}"
            config[path] = [each["class_path"], each.get("init_args")]
    return dict(flat(config))


def flat(node, prefix=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize(("one", "other"), DIFFERENCES, ids=lambda name: name)
def test_experiments_differ_where_they_are_meant_to_and_nowhere_else(one, other):
    left, right = settings(one), settings(other)
    missing = object()  # differs from every value
    found = {key for key in left | right if left.get(key, missing) != right.get(key, missing)}
    assert found == set(DIFFERENCES[one, other].split())


def test_every_experiment_is_compared_with_another():
    compared = {name for pair in DIFFERENCES for name in pair}
    files = {str(path.relative_to(ROOT / "experiments").with_suffix("")) for path in EXPERIMENTS}
    assert compared == files
