import psutil
import pytest
import torch

from lsr.images import free_memory
from lsr.inference.memory import free_bytes, is_out_of_memory, shortage

CPU = torch.device("cpu")


@pytest.mark.parametrize(("limit", "free"), [("max", 1000), ("900", 400), ("5000", 1000)])
def test_the_limit_of_a_container_counts_and_its_cache_does_not(tmp_path, monkeypatch, limit, free):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 1000})())
    monkeypatch.setattr(free_memory, "_CGROUP", tmp_path)
    assert free_bytes(CPU) == 1000, "no container"
    (tmp_path / "memory.max").write_text(limit + "\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 200\n")
    assert free_bytes(CPU) == free


def test_every_way_of_running_out_of_memory_is_known():
    with pytest.raises(RuntimeError) as torch_on_a_cpu:
        torch.empty(2**60)
    assert is_out_of_memory(torch_on_a_cpu.value)
    assert shortage(torch_on_a_cpu.value) == "out of memory"
    assert shortage(MemoryError()) == "out of memory"
    assert shortage(MemoryError("4x4 pixels\nneed 9 MiB")) == "4x4 pixels need 9 MiB"
    assert is_out_of_memory(MemoryError()) and is_out_of_memory(torch.OutOfMemoryError())
    assert not is_out_of_memory(RuntimeError("shapes do not match")) and not is_out_of_memory(
        ValueError()
    )
