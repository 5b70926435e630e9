"""The HTTP API: POST /api/upscale takes a photograph and returns the larger one."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse

from lsr.images import WRITTEN_FORMATS, EncodedImage
from lsr.inference.upscaler import Upscaler
from lsr.serve.checks import check_photograph, cleaned_name
from lsr.serve.jobs import Cancelled, Job, JobLine, Watch
from lsr.serve.limits import NO_PICTURE, Limits, Refused
from lsr.serve.one_photograph import name_of_result, upscale_one
from lsr.serve.settings import Settings, settings_of, takes_fidelity
from lsr.serve.workplace import Workplace

_MOST_FIELDS = 16

_LOOK_EVERY_S = 1.0
"""Seconds between two checks whether the client is still connected."""


def api_of(
    models: Mapping[str, Upscaler], limits: Limits, line: JobLine, workplace: Workplace
) -> FastAPI:
    """Return the application of the API.

    Args:
        models: The models by name; the first is the default.
        limits: Limits of the server.
        line: The line of jobs.
        workplace: The temporary folder.
    """
    app = FastAPI(openapi_url=None)

    @app.exception_handler(HTTPException)
    def _(request: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(Refused)
    def _(request: Request, error: Refused) -> Response:
        return JSONResponse({"error": str(error)}, error.status)

    @app.exception_handler(ClientDisconnect)
    def _(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it, but no traceback is printed

    @app.get("/api")
    def _() -> Response:
        return JSONResponse({"models": [_described(*each) for each in models.items()]})

    @app.post("/api/upscale")
    async def _(request: Request) -> Response:
        async with form_of(request, 1) as form:
            settings = settings_of(_fields(form), models)
            file = _photograph_in(form)
            source = EncodedImage(cleaned_name(file.filename or ""), file.file)
            await run_in_threadpool(check_photograph, source, settings.scale, limits)
            target = workplace.new_folder() / name_of_result(source.name)
            job = line.submit(partial(_upscaled, source, target, settings))
            return await _finished(job, request)

    return app


def form_of(request: Request, files: int) -> AbstractAsyncContextManager[FormData]:
    """Return the form that a request sends, with at most a number of files.

    Raises:
        Refused: If the request sends no form.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refused("send a form (multipart/form-data)", NO_PICTURE)
    return request.form(max_files=files, max_fields=_MOST_FIELDS)


def _described(name: str, upscaler: Upscaler) -> dict[str, Any]:
    return {
        "name": name,
        "scale": upscaler.scale,
        "one_step": upscaler.denoiser.one_step,
        "fidelity": takes_fidelity(name),
        "tags": upscaler.denoiser.config.takes_tags,
    }


def _photograph_in(form: FormData) -> UploadFile:
    file = form.get("photo")
    if not isinstance(file, UploadFile):
        raise Refused("there is no photograph: send it as the file field 'photo'")
    return file


def _fields(form: FormData) -> dict[str, Any]:
    return {name: value for name, value in form.multi_items() if name != "photo"}


def _upscaled(source: EncodedImage, target: Path, settings: Settings, watch: Watch) -> Response:
    """Upscale a photograph, and return the answer that sends the result."""
    try:
        result = upscale_one(source, target, settings, watch)
        headers = {
            "Content-Length": str(target.stat().st_size),
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(target.name)}",
        }
        if result.notes:
            headers["X-Notes"] = quote("; ".join(result.notes), safe=" ;:,.()")
        kind = f"image/{WRITTEN_FORMATS[target.suffix.lower()]}"
        return StreamingResponse(_blocks(target.open("rb")), 200, headers, kind)
    finally:
        # The open file is read to its end nevertheless, and nothing is left of it then.
        shutil.rmtree(target.parent, ignore_errors=True)


async def _finished(job: Job, request: Request) -> Response:
    """Return the answer that a job makes; cancel the job if the client has gone."""
    future = asyncio.wrap_future(job.future)
    try:
        while not future.done():
            await asyncio.wait([future], timeout=_LOOK_EVERY_S)
            if await request.is_disconnected():
                job.cancel()
        return future.result()
    except (Cancelled, asyncio.CancelledError):
        raise Refused("cancelled") from None
    finally:
        job.cancel()


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while block := file.read(2**20):
            yield block
