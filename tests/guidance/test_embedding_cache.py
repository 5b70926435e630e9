import subprocess
import sys
import threading
import time

import pytest
import torch

from lsr.guidance.embedding_cache import EmbeddingCache, fingerprint

WRITER = """
import sys
from pathlib import Path
import torch
from lsr.guidance.embedding_cache import EmbeddingCache

cache = EmbeddingCache(Path(sys.argv[1]))
print("ready", flush=True)
for i in range(10_000):
    cache.add({f"{i} {j}": torch.full((3, 257), float(i + j)) for j in range(5)})
    print(i, flush=True)
"""


def tokens(generator, length=4):
    return torch.randn(length, 6, generator=generator).bfloat16()


def test_what_was_added_is_there_for_others(tmp_path, generator):
    cache, a, b = EmbeddingCache(tmp_path / "e"), tokens(generator), tokens(generator, 1)
    assert "a" not in cache
    cache.add({"a": a, "b": b})
    cache.add({"ä": 2 * a})
    for reader in (cache, EmbeddingCache(tmp_path / "e")):
        assert (
            torch.equal(reader["a"], a)
            and torch.equal(reader["b"], b)
            and torch.equal(reader["ä"], 2 * a)
        )
        assert "c" not in reader


def test_a_torn_shard_is_named_and_made_again(tmp_path, generator, caplog):
    cache, a = EmbeddingCache(tmp_path), tokens(generator)
    cache.add({"a": a})
    (shard,) = tmp_path.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-3])
    again = EmbeddingCache(tmp_path)
    assert "a" not in again and shard.name in caplog.text
    again.add({"a": a})
    assert torch.equal(EmbeddingCache(tmp_path)["a"], a)


def test_a_shard_whose_bytes_have_changed_is_refused(tmp_path, generator):
    EmbeddingCache(tmp_path).add({"a": tokens(generator)})
    (shard,) = tmp_path.glob("*.safetensors")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ValueError, match="damaged; delete it"):
        EmbeddingCache(tmp_path)["a"]


@pytest.mark.parametrize("delay", [0.0, 0.013, 0.05])
def test_killing_the_writer_leaves_a_cache_that_is_right(tmp_path, delay):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    time.sleep(delay)
    writer.kill()
    told = [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    cache = EmbeddingCache(tmp_path)
    for i in range(len(told) + 2):
        there = [f"{i} {j}" in cache for j in range(5)]
        assert all(there) or not any(there), "a shard is there as a whole or not at all"
        assert all(there) or i >= len(told), "what the writer has told is there"
        for j in range(5):
            if there[j]:
                assert torch.equal(cache[f"{i} {j}"], torch.full((3, 257), float(i + j)).bfloat16())
    cache.add({"afterwards": torch.ones(1, 257)})
    assert "afterwards" in EmbeddingCache(tmp_path)


def test_several_writers_do_not_disturb_each_other(tmp_path):
    def write(rank):
        cache = EmbeddingCache(tmp_path)
        for i in range(20):
            cache.add(
                {
                    f"{i}": torch.full((2, 4), float(i)),
                    f"{rank} {i}": torch.full((1, 4), float(rank)),
                }
            )

    ranks = [threading.Thread(target=write, args=(rank,)) for rank in range(4)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()
    cache = EmbeddingCache(tmp_path)
    assert all(
        cache[f"{i}"][0, 0] == i and cache[f"{rank} {i}"][0, 0] == rank
        for i in range(20)
        for rank in range(4)
    )


def test_another_encoder_has_another_fingerprint(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(bytes(20 * 2**20))
    (tmp_path / "config.json").write_text("{}")
    first = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == first
    (tmp_path / "config.json").write_text("{ }")
    second = fingerprint(tmp_path)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"x")
    assert len({first, second, fingerprint(tmp_path)}) == 3
