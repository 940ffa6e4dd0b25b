FROM python:3.11-slim

# git and make for the Makefile; the two libraries are what OpenCV (insightface, MediaPipe) links.
RUN apt-get update \
    && apt-get install -y --no-install-recommends make git libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE Makefile ./
COPY socialcli socialcli
COPY pipelines pipelines
# To run, not to develop: neither tests nor Ray. `--build-arg EXTRAS=...` takes others.
ARG EXTRAS=mediapipe,samples,heic,remote
RUN make setup EXTRAS="$EXTRAS"
ENV PATH=/app/.venv/bin:$PATH
ENTRYPOINT ["socialcli"]
CMD ["--help"]
