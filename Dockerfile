# The images of Millrace:
#
#   docker build --target operator --tag millrace-operator:0.1.0 .
#   docker build --target worker   --tag millrace-worker:0.1.0 .
#   docker build --target python   --tag millrace-worker-python:0.1.0 .     the worker, for connectors in Python
#
# The first two hold one program and what it needs to run: no shell, no package manager.

FROM rust:1.95-bookworm AS build
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates tzdata && rm -rf /var/lib/apt/lists/*
WORKDIR /millrace
COPY . .
# The target directory stays in the cache of the builder; what is kept of it is copied out.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/millrace/target \
    cargo build --locked --release --package millrace --package millrace-operator \
    && strip --strip-debug target/release/millrace target/release/millrace-operator \
    && image/root target/release/millrace /worker \
    && image/shim /worker/usr/local/bin/millrace-shim \
    && image/root target/release/millrace-operator /operator

FROM scratch AS operator
COPY --from=build /operator /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/millrace-operator"]
CMD ["run"]

FROM debian:bookworm-slim AS python
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-venv tzdata \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /worker/usr/local/bin/millrace /usr/local/bin/millrace
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/millrace"]

# The last stage is what a build without --target makes.
FROM scratch AS worker
COPY --from=build /worker /
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/millrace"]
