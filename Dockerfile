# By digest, of the index of all architectures, since tags move. `docker buildx imagetools inspect python:3.12-slim`
# shows a later one, with security updates.
FROM python:3.12-slim@sha256:78387bc3881b8273120a12ebe6c1ab22b018ccc2c9adf565ae1ac9b536e184ea

# A user without a name has no home of its own.
ENV HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /cafeteria

# The dependencies come first, so that a change of code or weights leaves their layer alone.
# A file of theirs that is not the one that requirements.txt has the hash of is refused.
COPY requirements.txt LICENSE ./
RUN python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --requirement requirements.txt

COPY app app
COPY model model
COPY templates templates
COPY static static
COPY checkpoints checkpoints

USER 65532:65532
ENV CAFETERIA_HOST=0.0.0.0 \
    CAFETERIA_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import http.client, os; \
c = http.client.HTTPConnection('127.0.0.1:' + os.environ['CAFETERIA_PORT'], timeout=4); \
c.request('GET', '/readyz'); raise SystemExit(c.getresponse().status != 200)"]
CMD ["python", "-m", "app"]
