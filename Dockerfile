# One image for the API, the workers and the migrations; docker-compose.yml says which.

FROM python:3.12-slim AS dependencies
RUN python -m venv /opt/venv
COPY requirements.lock .
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes \
        -r requirements.lock \
    && /opt/venv/bin/pip uninstall --yes --quiet pip

FROM python:3.12-slim
RUN useradd --system --uid 10001 --no-create-home --home-dir /srv/vibecoder vibecoder \
    && install -d -o vibecoder -g vibecoder /var/lib/vibecoder
COPY --from=dependencies /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    VIBECODER_DATA_DIR=/var/lib/vibecoder
WORKDIR /srv/vibecoder
COPY alembic.ini ./
COPY shared shared
COPY api api
COPY worker worker
RUN python -m compileall -q api worker shared
USER vibecoder
EXPOSE 8000
CMD ["python", "-m", "api"]
