# syntax=docker/dockerfile:1

# One image for every role: `qrtrack serve`, `qrtrack worker`, `qrtrack migrate`.
ARG PYTHON_VERSION=3.13

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY requirements requirements
RUN python -m venv --without-pip /opt/qrtrack \
    && pip --python /opt/qrtrack/bin/python install --no-deps --require-hashes --only-binary :all: -r requirements/runtime.txt \
    && pip install --no-deps --require-hashes -r requirements/build.txt
COPY pyproject.toml ./
COPY migrations migrations
COPY src src
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/qrtrack/bin/python install --no-deps --no-index dist/*.whl

FROM python:${PYTHON_VERSION}-slim
RUN groupadd --system --gid 10001 qrtrack \
    && useradd --system --uid 10001 --gid qrtrack --home-dir /var/lib/qrtrack --no-create-home \
        --shell /usr/sbin/nologin qrtrack \
    && install --directory --owner qrtrack --group qrtrack --mode 0700 /var/lib/qrtrack
COPY --from=build /opt/qrtrack /opt/qrtrack
WORKDIR /app
COPY alembic.ini ./
COPY migrations migrations
# The image is production unless told otherwise: a missing secret then stops the start.
ENV PATH=/opt/qrtrack/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    QRTRACK_DATA_DIR=/var/lib/qrtrack \
    QRTRACK_ENV=production
USER qrtrack
EXPOSE 8000
STOPSIGNAL SIGTERM
# For `serve`, and for `worker --host 0.0.0.0 --port 8000`. A container that opens no port switches it off (compose.yaml).
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["python", "-c", "import http.client, sys; probe = http.client.HTTPConnection('127.0.0.1', 8000, timeout=3); probe.request('GET', '/healthz'); sys.exit(probe.getresponse().status != 200)"]
ENTRYPOINT ["qrtrack"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
