# One image with all programs of Berth; the command of a pod says which one runs.
#
#   docker build --tag berth .                                    compiles from source
#   docker build --tag berth --build-arg BINARIES=prebuilt .      takes target/image/, as `cargo xtask image` fills it
#
# buildah takes the same files and arguments, but wants BINARIES named: --build-arg BINARIES=build is the default.
#
# The programs need glibc of the age of BUILDER or later. The root certificates for TLS to the outside come from TOOLS, or
# from Debian where it has none: it needs a shell, BASE does not.

ARG BUILDER=docker.io/library/rust:1.92-bookworm
ARG BASE=docker.io/library/debian:bookworm-slim
ARG TOOLS=${BASE}
ARG BINARIES=build

FROM ${BUILDER} AS build
WORKDIR /source
COPY . .
RUN cargo build --locked --profile dist --bins \
        --package berth --package berth-operator --package berth-signaling --package berth-matchmaker \
    && mkdir /programs \
    && cd target/dist \
    && cp berth berth-operator berth-signaling berth-matchmaker /programs/

FROM scratch AS prebuilt
COPY target/image/ /programs/

FROM ${BINARIES} AS binaries

FROM ${TOOLS} AS certificates
RUN if [ ! -s /etc/ssl/certs/ca-certificates.crt ]; then \
        apt-get update && apt-get install --yes --no-install-recommends ca-certificates; \
    fi

FROM ${BASE}
LABEL org.opencontainers.image.title="Berth" \
      org.opencontainers.image.description="Signaling, matchmaking and the operator that runs both" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=certificates /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=binaries /programs/berth /programs/berth-operator /programs/berth-signaling /programs/berth-matchmaker /usr/local/bin/
# Writes nowhere but to what is mounted, so the root may be read-only.
USER 65532:65532
CMD ["berth", "--help"]
