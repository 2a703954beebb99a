FROM python:3.12-slim

# A user without a name has no home of its own.
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /cafeteria

# The dependencies come first, so that a change of code or weights leaves their layer alone.
COPY pyproject.toml constraints.txt LICENSE ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check --constraint constraints.txt .

COPY app app
COPY model model
COPY templates templates
COPY static static
COPY checkpoints checkpoints

USER 65532:65532
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import *; build_opener(ProxyHandler({})).open('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["python", "-m", "app", "--host", "0.0.0.0", "--port", "8000"]
