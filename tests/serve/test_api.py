"""The API over real HTTP: the picture of `lsr upscale`, one line for what is wrong, and order."""

import io
import re
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("gradio", reason="gradio is missing: pip install 'linearsr[app]'")

import httpx
from support.processes import ROOT
from support.served import animation, bomb, encoded, served
from support.tiny import TINY

from lsr.cli import main
from lsr.inference.upscaler import Upscaler
from lsr.models.checkpoint import save_denoiser
from lsr.models.denoiser import Denoiser
from lsr.serve.limits import Limits

LIMITS = Limits(megapixels=0.01, megabytes=0.2, files=2)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    save_denoiser(path, Denoiser(TINY).state_dict(), asdict(TINY) | {"shift": 3.0})
    return path


@pytest.fixture(scope="module")
def upscaler(model):
    return Upscaler.from_pretrained(model, device="cpu")


@pytest.fixture(scope="module")
def client(upscaler):
    models = {"tiny": upscaler, "perceptual": Upscaler.from_pretrained(device="cpu")}
    with (
        served(models, LIMITS) as address,
        httpx.Client(base_url=address, timeout=300) as client,
    ):
        yield client


def post(client, data, name="a.png", **fields):
    return client.post("/api/upscale", files={"photo": (name, data)}, data=fields)


def is_one_line(answer, status):
    line = answer.json()["error"]
    return answer.status_code == status and line and "\n" not in line and len(line) < 200


def left_behind():
    return [path for path in Path(tempfile.gettempdir()).glob("lsr-serve-*/*")]


def test_the_fidelity_is_that_of_lsr_upscale(client, photo, tmp_path):
    source = tmp_path / "in" / "p.png"
    source.parent.mkdir()
    source.write_bytes(encoded(photo[:20, :30], "PNG"))
    assert main(f"upscale {source} --fidelity 0.3 --out {tmp_path}".split()) == 0
    answer = post(client, source.read_bytes(), "p.png", model="perceptual", fidelity="0.3")
    assert answer.content == (tmp_path / "p.png").read_bytes()


def test_the_answer_is_the_file_that_lsr_upscale_writes(client, model, photo, tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a maker"
    source = tmp_path / "in" / "p.jpg"
    source.parent.mkdir()
    source.write_bytes(encoded(photo[:20, :30], "JPEG", exif=exif, dpi=(300, 300)))
    command = f"upscale {source} --model {model} --out {tmp_path} --format same --scale 2.5"
    assert main(command.split()) == 0
    answer = post(client, source.read_bytes(), "p.jpg", scale="2.5", model="tiny")
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''p.jpg"
    assert answer.content == (tmp_path / "p.jpg").read_bytes()
    assert not left_behind()


def test_the_examples_of_the_documentation_work(client, photo, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").write_bytes(encoded(photo[:20, :30], "JPEG"))
    page = (ROOT / "docs" / "serve.md").read_text().replace("faithful", "tiny")
    page = page.replace("http://127.0.0.1:7860", str(client.base_url).rstrip("/"))
    curl, python = re.findall(r"^```text\n((?:curl|import httpx).*?)^```", page, re.M | re.S)
    exec(python)
    assert Image.open("large.jpg").size == (60, 40)
    Path("photo.jpg").write_bytes(b"no picture")
    exec(python)
    assert "photo.jpg: not a PNG" in capsys.readouterr().out
    if shutil.which("curl"):
        assert subprocess.run(shlex.split(curl), capture_output=True).returncode != 0
        Path("photo.jpg").write_bytes(encoded(photo[:10, :10], "JPEG"))
        subprocess.run(shlex.split(curl), capture_output=True, check=True)
        assert Image.open("large.jpg").size == (20, 20)


def test_what_is_wrong_is_told_in_one_line_and_the_server_lives_on(client, photo):
    good = encoded(photo[:8, :8])
    for data, name, fields, status in [
        (b"no picture", "a.png", {}, 415),
        (good[:60], "a.png", {}, 415),
        (animation(), "a.gif", {}, 415),
        (bomb(), "a.png", {}, 413),
        (encoded(np.zeros((101, 100), np.uint8)), "a.png", {}, 413),
        (250_000 * b"x", "a.png", {}, 413),
        (3_000_000 * b"x", "a.png", {}, 413),
        (b"no picture", "../../../etc/passwd", {}, 415),
        (good, 5000 * "x" + ".png", {}, 400),
        (good, "a.png", {"model": "none"}, 400),
        (good, "a.png", {"scale": "0"}, 400),
        (good, "a.png", {"scale": "1e9"}, 413),
        (good, "a.png", {"colour": "red"}, 400),
    ]:
        assert is_one_line(post(client, data, name, **fields), status), (name, fields, status)
    for answer in [
        client.post("/api/upscale"),
        client.post("/api/upscale", json={"photo": "a"}),
        client.post("/api/upscale", data={"photo": "a"}),
        client.post("/api/upscale", files={"other": ("a.png", good)}),
        client.post("/api/upscale", files=[("photo", ("a.png", good)), ("photo", ("b.png", good))]),
        client.post("/api/upscale", files={"photo": good}, data={"scale": 2_000_000 * "1"}),
    ]:
        assert is_one_line(answer, answer.status_code) and 400 <= answer.status_code < 500
    named = post(client, good, f"../{500 * 'x'}.png")
    assert named.status_code == 200 and ".." not in named.headers["content-disposition"]
    assert not left_behind()


def test_only_the_addresses_of_page_and_api_are_answered(client, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    for path in [
        f"/gradio_api/file={secret}",
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=../../../../etc/passwd",
        "/gradio_api/file=%2e%2e/%2e%2e/etc/passwd",
        f"/gradio_api/file={client.base_url}/api",
        "/gradio_api/proxy=https://example.org/",
        f"/file={secret}",
        f"/file/{secret}",
        "/static/../../../../../../etc/passwd",
        "/static/%2e%2e/%2e%2e/%2e%2e/gradio/routes.py",
        "/assets/..%2f..%2f..%2froutes.py",
        "/monitoring",
        "/gradio_api/vibe-code",
        "/gradio_api/openapi.json",
        "/docs",
        "/nothing",
    ]:
        answer = client.get(path)
        assert answer.status_code == 404 and "secret" not in answer.text, path
        assert "root:" not in answer.text
        assert client.head(path).status_code == 404, path
    assert "default-src 'self'" in client.get("/").headers["content-security-policy"]


def test_pages_of_other_servers_and_foreign_names_of_this_one_are_refused(client, photo):
    good = encoded(photo[:8, :8])
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "http://["},
        {"Host": "evil.example"},
        {"Host": "["},
    ):
        answer = client.post("/api/upscale", files={"photo": good}, headers=headers)
        assert is_one_line(answer, 403)
    own = {"Origin": str(client.base_url).rstrip("/")}
    assert client.post("/api/upscale", files={"photo": good}, headers=own).status_code == 200


def test_every_address_of_this_machine_may_be_chosen(upscaler):
    with served({"tiny": upscaler}, host="127.0.0.2") as address:
        assert httpx.get(f"{address}/api", timeout=300).status_code == 200


def test_a_password_is_asked_for_everywhere(upscaler, photo):
    files = {"photo": encoded(photo[:8, :8])}
    with (
        served({"tiny": upscaler}, auth="me:pass:wörd") as address,
        httpx.Client(base_url=address, timeout=300) as client,
    ):
        for auth in (None, ("me", "wrong"), ("", ""), ("you", "pass:wörd")):
            for path in ("/", "/api", "/config", "/gradio_api/file=/etc/passwd", "/static/x"):
                answer = client.get(path, auth=auth)
                assert is_one_line(answer, 401) and "www-authenticate" in answer.headers
        assert client.post("/api/upscale", files=files).status_code == 401
        answer = client.post("/api/upscale", files=files, auth=("me", "pass:wörd"))
        assert answer.status_code == 200


def test_a_page_cannot_name_a_file_of_the_machine_as_its_upload(client, photo, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(photo[:8, :8]))
    run = next(
        each["id"] for each in client.get("/config").json()["dependencies"] if each["outputs"][5:]
    )
    for path in (str(secret), "http://127.0.0.1:1/a.png", "/dev/zero"):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        for data in ([[file], "tiny", 0, 4, 1, ""], [[], "tiny", 0, file, 1, ""]):
            call = {"fn_index": run, "session_hash": "thief", "data": data}
            assert client.post("/gradio_api/queue/join", json=call).status_code == 200
            with client.stream("GET", "/gradio_api/queue/data?session_hash=thief") as events:
                told = events.read().decode()
            assert "there is no such upload" in told and "pixels" not in told
    assert not left_behind()


def test_many_clients_get_their_own_pictures_though_every_third_is_broken(client):
    grey = np.linspace(0, 255, 24).astype(np.uint8)

    def asked(number: int) -> int:
        data = encoded(np.full((6, 8, 3), grey[number]))
        answer = post(client, data[:50] if number % 3 == 2 else data, f"{number}.png")
        if answer.status_code == 200:
            assert answer.headers["content-disposition"].endswith(f"{number}.png")
            pixels = np.asarray(Image.open(io.BytesIO(answer.content)))
            assert pixels.shape == (24, 32, 3)
            assert abs(pixels.mean() - grey[number]) < 3
        return answer.status_code

    with ThreadPoolExecutor(8) as clients:
        found = list(clients.map(asked, range(24)))
    assert found == [415 if number % 3 == 2 else 200 for number in range(24)]
    assert not left_behind()
