# Targets: serve (ONNX Runtime, no PyTorch; the model is mounted), serve-model (the same with the model inside), full (PyTorch).
# docs/guide/container.md has the commands. Versions are those of constraints.txt, with which the tests run.
FROM python:3.11-slim-bookworm AS wheels
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY soundscene ./soundscene

FROM wheels AS build-serve
RUN python -m pip wheel --wheel-dir /wheels --constraint constraints.txt ".[onnx,serve,plot]"
RUN python -m venv /opt/soundscene
RUN /opt/soundscene/bin/python -m pip install --no-index --find-links /wheels "soundscene[onnx,serve,plot]"

FROM wheels AS build-full
# WHEEL_OPTIONS may name an index of CPU builds of PyTorch, which are a fifth of the size
ARG WHEEL_OPTIONS=""
RUN python -m pip wheel ${WHEEL_OPTIONS} --wheel-dir /wheels --constraint constraints.txt ".[torch,onnx,serve,explain,av]"
RUN python -m venv /opt/soundscene
RUN /opt/soundscene/bin/python -m pip install --no-index --find-links /wheels "soundscene[torch,onnx,serve,explain,av]"

FROM python:3.11-slim-bookworm AS base
# Nothing is written but below /tmp, so that the root may be read-only
ENV PATH=/opt/soundscene/bin:$PATH HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib NUMBA_CACHE_DIR=/tmp/numba \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 ORT_DISABLE_TELEMETRY=1
VOLUME ["/tmp"]
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
USER 10001:10001
ENTRYPOINT ["soundscene"]

FROM base AS full
COPY --from=build-full /opt/soundscene /opt/soundscene
CMD ["serve", "/model/model.safetensors", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS serve
COPY --from=build-serve /opt/soundscene /opt/soundscene
CMD ["serve", "/model/model.onnx", "--host", "0.0.0.0", "--port", "8000"]

FROM serve AS serve-model
ARG MODEL=model.onnx
COPY ${MODEL} /model/model.onnx
