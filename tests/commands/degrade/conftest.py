import pytest
from PIL import Image


@pytest.fixture
def photos(tmp_path, photo):
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    Image.fromarray(photo[:40, :56]).save(folder / "a.png")
    Image.fromarray(photo[20:61, :50]).save(folder / "b.jpg")
    Image.fromarray(photo[:32, 30:70]).save(folder / "b.png")
    Image.fromarray(photo[:48, :48]).convert("L").save(folder / "deeper" / "a.png")
    return folder
