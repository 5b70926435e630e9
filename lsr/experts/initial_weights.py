"""Copy the weights of a knee to experts: that of stage 1, or of stage 2 for fine-tuning."""

import logging
from pathlib import Path

from lsr.experts.config import ExpertsConfig
from lsr.files import sha256_of
from lsr.knee.folder import SEED, read_manifest
from lsr.models.checkpoint import ModelFile, load_weights, read_model
from lsr.models.denoiser import Denoiser
from lsr.models.initialisation import load_initial
from lsr.models.mixture import ExpertMixture

log = logging.getLogger(__name__)


def seed_experts(mixture: ExpertMixture, config: ExpertsConfig) -> str:
    """Make every expert a copy of the knee; a shallower expert takes the first blocks.

    The experts of the knee of stage 2 go on as what they are: each gets the weights of its own.

    Args:
        mixture: The experts.
        config: Configuration of the run, which names the knee.

    Returns:
        The SHA-256 of the file with the weights of the knee.

    Raises:
        ValueError: If there is no such knee, its weights are not those that were published, or they
            have another configuration or other boundaries between experts.
    """
    path = verified_seed(config)
    found = read_model(path)
    if found.boundaries is not None:
        _check_same_experts(path, found, mixture)
        load_initial(mixture, found.weights, found.config, path)
        return sha256_of(path)
    knee = Denoiser(mixture.config)
    load_initial(knee, found.weights, found.config, path)
    for i in range(len(mixture.experts)):
        expert = mixture.expert(i)
        wanted = expert.state_dict()
        weights = {name: weight for name, weight in knee.state_dict().items() if name in wanted}
        load_weights(expert, weights, path)
    return sha256_of(path)


def _check_same_experts(path: Path, found: ModelFile, mixture: ExpertMixture) -> None:
    """Raise ValueError if experts in a file have other boundaries or depths than a mixture."""
    shares = {"boundaries": found.boundaries, "depths": found.depths}
    for name, there in shares.items():
        here = mixture.shares.get(name)
        if there != here:
            raise ValueError(
                f"{path}: its experts have {name} {there}, this run {here}: set experts.{name} to "
                "those of the file"
            )


def verified_seed(config: ExpertsConfig) -> Path:
    """Return the file with the weights of the knee after a check of their SHA-256.

    If the configuration allows an unverified seed, a failed check is a warning.

    Raises:
        ValueError: If there is no such knee, or its weights are not those that were published.
    """
    seed = Path(config.seed)
    if not seed.exists():
        raise ValueError(
            f"{seed}: no such knee; the stage before (make stage1, make stage2) publishes one, and "
            f"lsr knee {seed.parent} reports why there is none"
        )
    problem = _verification_problem(seed)
    if seed.is_dir() and not (seed / SEED).is_file():
        raise ValueError(problem)
    if problem and not config.allow_unverified_seed:
        raise ValueError(f"{problem}; experts.allow_unverified_seed: true accepts any model file")
    if problem:
        log.warning("%s; the experts start from it unverified", problem)
    return seed / SEED if seed.is_dir() else seed


def _verification_problem(seed: Path) -> str:
    """Return why a seed is not a published knee, "" if it is one."""
    if not seed.is_dir():
        return f"{seed}: is not the folder of a knee"
    try:
        read_manifest(seed)
    except ValueError as error:
        return str(error)
    return ""
