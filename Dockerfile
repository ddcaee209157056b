# `vilu serve` on a CPU: docker build -t vilu . && docker run -p 8000:8000 -v "$PWD:/data:ro" vilu /data/my-scorer /data/texts.npy
ARG PYTHON=3.12
FROM python:${PYTHON}-slim AS build
# Where builds of torch without CUDA come from; a mirror, or a folder of wheels, does as well.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /source
RUN python -m venv /opt/vilu
ENV PATH=/opt/vilu/bin:$PATH
COPY constraints.txt ./
RUN pip install --no-cache-dir --constraint constraints.txt --index-url "$TORCH_INDEX" torch
COPY pyproject.toml README.md LICENSE ./
COPY vilu_sdk vilu_sdk
RUN pip install --no-cache-dir --constraint constraints.txt ".[serve]"

FROM python:${PYTHON}-slim
RUN useradd --system --create-home --uid 10001 vilu
COPY --from=build /opt/vilu /opt/vilu
ENV PATH=/opt/vilu/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /home/vilu
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
ENTRYPOINT ["vilu", "serve", "--host", "0.0.0.0"]
CMD ["--help"]
