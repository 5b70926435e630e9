import json
import resource
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from lsr.files import atomic_path
from lsr.models.checkpoint import EMA_STATE, MODEL_CONFIG, load_denoiser, save_denoiser
from lsr.training.checkpoint_io import AtomicCheckpointIO


def config_of(denoiser):
    return asdict(denoiser.config) | {"shift": 2.5}


def assert_same(loaded, denoiser):
    state = denoiser.state_dict()
    assert loaded.config == denoiser.config
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def test_safetensors_describe_themselves(denoiser, tmp_path):
    save_denoiser(tmp_path / "a" / "model.safetensors", denoiser.state_dict(), config_of(denoiser))
    loaded, shift = load_denoiser(tmp_path / "a" / "model.safetensors")
    assert shift == 2.5 and not loaded.training
    assert_same(loaded, denoiser)


def test_a_checkpoint_gives_its_denoiser_weights(denoiser, tmp_path):
    raw = {f"denoiser.{name}": torch.zeros_like(p) for name, p in denoiser.state_dict().items()}
    average = {f"denoiser.{name}": p for name, p in denoiser.state_dict().items()}
    torch.save(
        {"state_dict": raw, EMA_STATE: average, MODEL_CONFIG: config_of(denoiser)},
        tmp_path / "last.ckpt",
    )
    assert_same(load_denoiser(tmp_path / "last.ckpt")[0], denoiser)
    torch.save({"state_dict": average, MODEL_CONFIG: config_of(denoiser)}, tmp_path / "last.ckpt")
    assert_same(load_denoiser(tmp_path / "last.ckpt")[0], denoiser)


def test_a_configuration_without_the_shift_is_refused(denoiser, tmp_path):
    save_denoiser(tmp_path / "model.safetensors", denoiser.state_dict(), asdict(denoiser.config))
    with pytest.raises(ValueError, match="not a LinearSR model"):
        load_denoiser(tmp_path / "model.safetensors")


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def bad_files(denoiser, folder):
    (folder / "text.ckpt").write_text("not a checkpoint")
    (folder / "empty.safetensors").write_bytes(b"")
    torch.save({"state_dict": {}, "payload": Evil()}, folder / "evil.ckpt")
    torch.save({"state_dict": {}}, folder / "other.ckpt")
    save_file({"x": torch.zeros(1)}, folder / "other.safetensors")
    save_denoiser(
        folder / "future.safetensors", denoiser.state_dict(), config_of(denoiser) | {"warp": 9}
    )
    save_denoiser(folder / "partial.safetensors", {"x": torch.zeros(1)}, config_of(denoiser))
    return sorted(folder.iterdir()) + [folder / "missing.ckpt"]


def test_every_unusable_file_is_refused_in_one_line(denoiser, tmp_path):
    for path in bad_files(denoiser, tmp_path):
        with pytest.raises(ValueError, match=path.name) as error:
            load_denoiser(path)
        assert "\n" not in str(error.value)


def test_metadata_is_json_that_others_can_read(denoiser, tmp_path):
    save_denoiser(tmp_path / "m.safetensors", denoiser.state_dict(), config_of(denoiser))
    header = (tmp_path / "m.safetensors").read_bytes()
    length = int.from_bytes(header[:8], "little")
    assert json.loads(
        json.loads(header[8 : 8 + length])["__metadata__"][MODEL_CONFIG]
    ) == json.loads(json.dumps(config_of(denoiser)))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]
    with atomic_path(target) as temporary:
        temporary.write_text("new")
    assert target.read_text() == "new" and list(tmp_path.iterdir()) == [target]


def write_text(weights, path):
    with atomic_path(path) as temporary:
        temporary.write_text(1000 * str(weights))


@pytest.mark.parametrize(
    "write",
    [
        write_text,
        lambda weights, path: save_denoiser(path, weights, {}),
        lambda weights, path: AtomicCheckpointIO().save_checkpoint(weights, path),
    ],
    ids=["text", "safetensors", "checkpoint"],
)
def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path, write):
    # A limit on the size of files fails like a full disk, in the middle of a file.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="target: cannot be written|File too large: .*target"):
            write({"a": torch.zeros(500)}, tmp_path / "target")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
