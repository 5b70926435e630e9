"""Keep the weights of candidate steps in files until the knee is confirmed."""

from collections.abc import Collection, Sequence
from pathlib import Path

from lsr.files import copy_file, sha256_of


class CandidateFiles:
    """The candidates' weights in one folder, a file `step-<step>.safetensors` for each step.

    Args:
        folder: The folder, which need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, step: int) -> Path:
        """Return the file of a step."""
        return self.folder / f"step-{step:07d}.safetensors"

    def steps(self) -> set[int]:
        """Return the steps that have a file."""
        return {int(path.stem.split("-")[1]) for path in self.folder.glob("step-*.safetensors")}

    def delete(self, steps: Collection[int]) -> None:
        """Delete the files of some steps."""
        for step in steps:
            self.path(step).unlink(missing_ok=True)

    def recover(self, step: int, digest: str | None, elsewhere: Sequence[Path]) -> bool:
        """Look for the weights of a step, and copy them into the folder if they are elsewhere.

        Args:
            step: The step.
            digest: SHA-256 of its file; None if it is unknown, then any file of the step will do.
            elsewhere: Other files that may have the weights.

        Returns:
            Whether the folder has the weights now.
        """
        own = self.path(step)
        for path in (own, *elsewhere):
            if path.is_file() and digest in (None, sha256_of(path)):
                if path != own:
                    copy_file(path, own)
                return True
        return False
