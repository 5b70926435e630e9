# For a processor:   docker build --tag linearsr .
# For a NVIDIA GPU:  docker build --tag linearsr:cuda --build-arg DEVICE=cuda .
FROM python:3.11.14-slim-bookworm

ARG DEVICE=cpu

# OpenCV loads libGL, GLib and libxcb when it is imported; Triton compiles its launchers by gcc.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 libxcb1 \
        $(test "$DEVICE" = cuda && echo gcc libc6-dev) \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/linearsr
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY lsr lsr
COPY callbacks callbacks
COPY datamodules datamodules
# The usual index has PyTorch for CUDA, and PyTorch's own index has it without.
RUN pip install --no-cache-dir --constraint constraints.txt \
        $(test "$DEVICE" = cpu && echo --extra-index-url https://download.pytorch.org/whl/cpu) .

# Any user (docker run --user) may write to the home folder, which holds the caches.
RUN useradd --create-home lsr && chmod 1777 /home/lsr
ENV HOME=/home/lsr
USER lsr
WORKDIR /work
ENTRYPOINT ["lsr"]
CMD ["--help"]
