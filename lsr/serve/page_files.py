"""The addresses at which the page sends and gets files, in place of Gradio's own.

Gradio's upload gives equal files of two users one path, keeps parts of an upload that was broken
off, and holds fields of any length in memory; its download serves every file of a folder, uploads
too, and fetches pages of other servers.
"""

import shutil
from collections.abc import AsyncIterator, Sequence

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse

from lsr.serve.api import form_of
from lsr.serve.limits import TOO_LARGE, Limits, Refused
from lsr.serve.workplace import Workplace


def add_page_files(app: FastAPI, limits: Limits, workplace: Workplace) -> None:
    """Add the addresses to an application.

    Args:
        app: The application.
        limits: Limits of the server.
        workplace: The temporary folder.
    """

    @app.post("/gradio_api/upload")
    async def _(request: Request) -> Response:
        async with form_of(request, limits.files) as form:
            files = [each for each in form.getlist("files") if isinstance(each, UploadFile)]
            return JSONResponse(await run_in_threadpool(_kept, files, limits, workplace))

    @app.get("/gradio_api/upload_progress")
    async def _() -> Response:
        return StreamingResponse(_no_progress(), media_type="text/event-stream")

    # HEAD too: Gradio answers it by fetching whatever address the path names.
    @app.api_route("/gradio_api/file={path:path}", methods=["GET", "HEAD"])
    def _(path: str) -> Response:
        try:
            return FileResponse(workplace.result_at(path), headers={"Cache-Control": "no-store"})
        except Refused as error:
            raise HTTPException(404, str(error)) from None


def _kept(files: Sequence[UploadFile], limits: Limits, workplace: Workplace) -> list[str]:
    """Write uploads into folders of the server, and return their paths."""
    for file in files:
        if (file.size or 0) > limits.file_bytes:
            raise Refused(f"a file is larger than {limits.megabytes:g} MB, the limit", TOO_LARGE)
    paths = []
    for file in files:
        path = workplace.new_upload(file.filename or "")
        with path.open("wb") as kept:
            shutil.copyfileobj(file.file, kept)
        paths.append(str(path))
    return paths


async def _no_progress() -> AsyncIterator[str]:
    """Say that there is no more to be told; the page asks while it uploads."""
    yield 'data: {"msg": "done"}\n\n'
