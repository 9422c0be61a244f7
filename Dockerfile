# One image for the API, the workers and the migrations, and one for the proxy before them;
# docker-compose.yml says which.

FROM python:3.12-slim AS proxy
RUN apt-get update && apt-get install --yes --no-install-recommends nginx-light \
    && rm -rf /var/lib/apt/lists/*
COPY deploy/nginx/nginx.conf /etc/nginx/nginx.conf
USER www-data
EXPOSE 8000
CMD ["nginx", "-g", "daemon off;"]

FROM python:3.12-slim AS dependencies
RUN python -m venv --without-pip /opt/venv
COPY requirements.lock .
RUN pip --python /opt/venv/bin/python install --no-cache-dir --disable-pip-version-check \
        --require-hashes -r requirements.lock \
    && find /opt/venv -type f \( -name '*.c' -o -name '*.h' -o -name '*.pyx' -o -name '*.pxd' \) \
        -delete

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
USER 10001
EXPOSE 8000 9100
CMD ["python", "-m", "api"]
