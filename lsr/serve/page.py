"""The page: drop photographs, choose how they are upscaled, compare and download the results.

What the browser sends is checked here and not by Gradio (`preprocess=False`), so that page and API
give the same answers.
"""

import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import gradio.routes
from fastapi import FastAPI
from gradio.components import Component
from gradio.themes import Default

from lsr.inference.upscaler import Upscaler
from lsr.serve.batch import ZIP, Batch, Line, Progress
from lsr.serve.jobs import JobLine
from lsr.serve.limits import Limits, Refused
from lsr.serve.page_scripts import SHOW_ACTUAL_PIXELS, SLIDER_BY_KEYBOARD
from lsr.serve.page_text import STYLES, limits_in_words, lines_as_html, progress_as_html
from lsr.serve.settings import settings_of, takes_fidelity
from lsr.serve.workplace import Session, Workplace

_SYSTEM_FONTS = ("system-ui", "sans-serif")
"""Gradio's own themes load fonts from Google."""


def add_page(
    app: FastAPI,
    models: Mapping[str, Upscaler],
    limits: Limits,
    line: JobLine,
    workplace: Workplace,
) -> None:
    """Add the page to an application, at `/`.

    Args:
        app: The application.
        models: The models by name; the first is the default.
        limits: Limits of the server.
        line: The line of jobs.
        workplace: The temporary folder.
    """
    page = _Page(models, limits, line, workplace)
    with tempfile.TemporaryDirectory() as scratch:
        # Gradio makes a folder for a feature that is not served, in one that all users share.
        gradio.routes.DEFAULT_TEMP_DIR = scratch  # pyright: ignore[reportPrivateImportUsage]
        blocks = page.blocks()
        # Gradio would copy, or fetch, whatever file or address a browser names as its upload.
        for block in blocks.blocks.values():
            block.async_move_resource_to_block_cache = partial(_as_it_is, workplace)
        gr.mount_gradio_app(
            app,
            blocks,
            path="/",
            footer_links=[],
            run_history=False,
            max_file_size=limits.file_bytes,
            ssr_mode=False,
            theme=Default(font=_SYSTEM_FONTS, font_mono=("ui-monospace", "monospace")),
            css=STYLES,
        )


class _Page:
    """The components of the page and what happens at its events."""

    def __init__(
        self,
        models: Mapping[str, Upscaler],
        limits: Limits,
        line: JobLine,
        workplace: Workplace,
    ) -> None:
        self._models = models
        self._limits = limits
        self._line = line
        self._workplace = workplace

    def blocks(self) -> gr.Blocks:
        """Return the page."""
        with gr.Blocks(title="LinearSR", analytics_enabled=False) as blocks:
            gr.Markdown("# LinearSR\nEnlarge photographs and compare before and after.")
            with gr.Row():
                with gr.Column(scale=2, min_width=300):
                    settings = self._add_settings()
                    with gr.Row():
                        self._start = gr.Button("Upscale", variant="primary", min_width=120)
                        self._cancel = gr.Button("Cancel", interactive=False, min_width=120)
                with gr.Column(scale=5, min_width=300):
                    self._add_results()
            self._connect(blocks, settings)
        return blocks

    def _add_settings(self) -> list[Component]:
        """Add the inputs of a run, and return them in the order of `run`."""
        upscalers = self._models.values()
        several_steps = not all(each.denoiser.one_step for each in upscalers)
        default = next(iter(upscalers))
        self._files = gr.File(
            label="Photographs",
            file_count="multiple",
            file_types=["image"],
            height=200,
            elem_id="files",
        )
        gr.Markdown(limits_in_words(self._limits))
        names = list(self._models)
        model = gr.Radio(names, value=names[0], label="Model", visible=len(names) > 1)
        scale = gr.Number(default.scale, label="Scale", info="times the height and width")
        with_tags = any(each.denoiser.config.takes_tags for each in upscalers)
        blends = any(map(takes_fidelity, names))
        more = several_steps or with_tags or blends
        with gr.Accordion("More settings", open=False, visible=more):
            fidelity = gr.Slider(
                0,
                1,
                0,
                step=0.05,
                label="Fidelity",
                info="of the perceptual model: 0 has most texture, 1 is the faithful model",
                visible=blends,
            )
            steps = gr.Number(
                default.sampling.num_inference_steps,
                label="Steps",
                info="1 is the most faithful, more add texture",
                visible=several_steps,
            )
            tags = gr.Textbox(
                label="Tags",
                info="what the photograph shows, separated by commas",
                visible=with_tags,
            )
        return [self._files, model, fidelity, scale, steps, tags]

    def _add_results(self) -> None:
        self._progress = gr.HTML("Results appear here.", elem_id="progress")
        self._lines = gr.HTML(elem_id="lines")
        self._shown = gr.Dropdown(label="Picture", visible=False, interactive=True)
        with gr.Column(elem_id="frame"):
            self._slider = gr.ImageSlider(
                label="before | after",
                type="filepath",
                interactive=False,
                buttons=["fullscreen"],
                visible=False,
                max_height=1000,
                elem_id="slider",
            )
        self._actual = gr.Checkbox(
            label="Actual pixels",
            info="Drag the line. Zoom with the wheel or two fingers.",
            visible=False,
        )
        with gr.Row():
            self._download = gr.DownloadButton("Download", visible=False, variant="primary")
            self._download_all = gr.DownloadButton("Download all (zip)", visible=False)

    def _connect(self, blocks: gr.Blocks, settings: list[Component]) -> None:
        """Say which function answers which event."""
        own: dict[str, Any] = {
            "preprocess": False,
            "api_visibility": "private",
            "show_progress": "hidden",
            "concurrency_limit": None,
        }
        results = [self._shown, self._slider, self._actual, self._download]
        self._files.change(self.keep, [self._files], None, **own)
        self._start.click(
            self.run,
            settings,
            [*results, self._progress, self._lines, self._download_all, self._start, self._cancel],
            **own,
        )
        self._cancel.click(self.cancel, None, None, **own)
        self._shown.input(self.show, [self._shown], results, **own)
        self._actual.input(None, [self._actual], None, js=SHOW_ACTUAL_PIXELS)
        blocks.load(None, None, None, js=SLIDER_BY_KEYBOARD)
        blocks.unload(self.end)

    def keep(self, files: Any, request: gr.Request) -> None:
        """Note the uploads of a page, which are deleted with its session."""
        session = self._workplace.session(str(request.session_hash))
        for file in _as_list(files):
            try:
                session.uploads.add(self._workplace.upload_at(file))
            except Refused:  # answered when the run begins
                continue

    def run(
        self,
        files: Any,
        model: Any,
        fidelity: Any,
        scale: Any,
        steps: Any,
        tags: Any,
        request: gr.Request,
    ) -> Iterator[dict[Any, Any]]:
        """Upscale photographs, and yield what the page shows meanwhile."""
        lines: list[Line] = []
        session = self._workplace.session(str(request.session_hash))
        fields = {"model": model, "scale": scale, "steps": steps, "tags": tags}
        if fidelity:  # 0 is the model itself, and the slider stands there for all models
            fields["fidelity"] = fidelity
        try:
            settings = settings_of(fields, self._models)
            batch = Batch(
                _as_list(files), settings, self._limits, self._line, self._workplace, session
            )
            session.start()
        except Refused as error:
            yield {self._lines: lines_as_html([Line(str(error), refused=True)])}
            return
        yield self._at_start()
        for event in batch.run():
            if isinstance(event, Progress):
                yield {self._progress: progress_as_html(event)}
            else:
                lines.append(event)
                yield {self._lines: lines_as_html(lines), **self._compared(session)}
        yield self._at_end(session)

    def show(self, name: Any, request: gr.Request) -> dict[Any, Any]:
        """Show the result that was chosen of several."""
        session = self._workplace.session(str(request.session_hash))
        known = isinstance(name, str) and name in session.results
        return self._compared(session, name if known else None)

    def cancel(self, request: gr.Request) -> None:
        """End the run of a page."""
        self._workplace.session(str(request.session_hash)).cancel()

    def end(self, request: gr.Request) -> None:
        """Delete the files of a page that was closed."""
        self._workplace.end(str(request.session_hash))

    def _at_start(self) -> dict[Any, Any]:
        hidden = (self._shown, self._slider, self._actual, self._download, self._download_all)
        return {
            **{component: gr.update(visible=False) for component in hidden},
            self._progress: gr.update(value="", visible=True),
            self._lines: "",
            self._start: gr.update(interactive=False),
            self._cancel: gr.update(interactive=True),
        }

    def _at_end(self, session: Session) -> dict[Any, Any]:
        zipped = session.folder / ZIP
        return {
            self._progress: gr.update(visible=False),
            self._start: gr.update(interactive=True),
            self._cancel: gr.update(interactive=False),
            self._download_all: gr.update(
                value=str(zipped) if zipped.exists() else None, visible=zipped.exists()
            ),
        }

    def _compared(self, session: Session, name: str | None = None) -> dict[Any, Any]:
        """Return what shows a result, the latest one unless it is named."""
        names = list(session.results)
        if not names:
            return {}
        name = name or names[-1]
        result = session.results[name]
        assert result.preview is not None
        both = str(result.preview.before), str(result.preview.after)
        return {
            self._shown: gr.update(choices=names, value=name, visible=len(names) > 1),
            self._slider: gr.update(value=both, visible=True),
            self._actual: gr.update(visible=True),
            self._download: gr.update(
                label=f"Download {name}", value=str(result.file), visible=True
            ),
        }


async def _as_it_is(workplace: Workplace, url_or_file_path: str | Path | None) -> str | None:
    """Return a path that the browser or the page names, if it lies in the folder of the server."""
    path = None if url_or_file_path is None else str(url_or_file_path)
    if path is None or workplace.holds(path):
        return path
    raise gr.Error("there is no such upload", print_exception=False)


def _as_list(files: Any) -> list[str]:
    """Return the paths in what the browser sends as its uploads, whatever that is."""
    entries = files if isinstance(files, list) else []
    paths = (entry.get("path") for entry in entries if isinstance(entry, dict))
    return [path for path in paths if isinstance(path, str)]
