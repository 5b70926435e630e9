"""What the experts of stage 2 start from."""

import logging
from pathlib import Path

from lsr.experts.config import ExpertsConfig
from lsr.knee.folder import SEED, read_manifest, sha256_of
from lsr.models.checkpoint import initialise, load_weights
from lsr.models.denoiser import Denoiser
from lsr.models.mixture import ExpertMixture

log = logging.getLogger(__name__)


def seed_experts(mixture: ExpertMixture, config: ExpertsConfig) -> str:
    """Make every expert a copy of the knee, of its first blocks if the expert has fewer.

    Args:
        mixture: The experts.
        config: Names the knee, or another model file if it allows one.

    Returns:
        The sha256 of the knee's weights.

    Raises:
        ValueError: If there is no such knee, its weights are not those that were published, or they are of another configuration.
    """
    path = verified_seed(config)
    knee = Denoiser(mixture.config)
    initialise(knee, path)
    for i in range(len(mixture.experts)):
        expert = mixture.expert(i)
        wanted = expert.state_dict()
        load_weights(
            expert,
            {name: weight for name, weight in knee.state_dict().items() if name in wanted},
            path,
        )
    return sha256_of(path)


def verified_seed(config: ExpertsConfig) -> Path:
    """Return the weights of the knee, which are those that were published, or those that the configuration allows.

    Raises:
        ValueError: If there is no such knee, or its weights are not those that were published.
    """
    seed = Path(config.seed)
    if not seed.exists():
        raise ValueError(
            f"{seed}: no such knee; make stage1 publishes one, and lsr knee {seed.parent} tells why there is none"
        )
    path = seed / SEED if seed.is_dir() else seed
    try:
        if not seed.is_dir():
            raise ValueError(f"{seed}: is not the folder of a knee")
        read_manifest(seed)
    except ValueError as error:
        if not config.allow_unverified_seed:
            raise ValueError(
                f"{error}; experts.allow_unverified_seed: true lets any model file through"
            ) from error
        log.warning("%s: the experts grow from it unverified", error)
    return path
