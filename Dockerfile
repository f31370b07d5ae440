# syntax=docker/dockerfile:1@sha256:87999aa3d42bdc6bea60565083ee17e86d1f3339802f543c0d03998580f9cb89

ARG BUILDER_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082
ARG RUNTIME_IMAGE=gcr.io/distroless/static-debian13:nonroot@sha256:e2e927ec666bae08560abb3c55d0659eceabb657f56b6782ab500a9fc7f555e3

# checkov:skip=CKV_DOCKER_7: The argument above specifies a tag and a digest
FROM ${BUILDER_IMAGE} AS builder
WORKDIR /build
# cargo-auditable embeds the list of dependencies in the binary, where image scanners look for it. A debug build of the
# tool compiles faster.
RUN cargo install --locked --debug --root /opt/cargo-auditable cargo-auditable@0.7.7
ENV PATH="${PATH}:/opt/cargo-auditable/bin"

# Link everything statically, including glibc, so that the runtime image needs only certificates. Since glibc 2.34, host
# name lookups don't load a library either. An explicit target keeps the flag from applying to build scripts and
# procedural macros. SOURCE_DATE_EPOCH replaces the build time that C code may embed, so that builds are reproducible.
ENV RUSTFLAGS="-C target-feature=+crt-static" SOURCE_DATE_EPOCH=0
RUN rustc --print host-tuple > /target

# Build only the dependencies, from the real Cargo.toml and stub sources. The layer is reused until a manifest changes.
COPY .cargo/config.toml .cargo/
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches \
    && sed -n '/^\[\[bench\]\]/{n;s|name = "\(.*\)"|benches/\1.rs|p}' Cargo.toml > /stubs \
    && xargs touch src/lib.rs < /stubs \
    && echo 'fn main() {}' > src/main.rs \
    && cargo auditable build --locked --release --target "$(cat /target)"

COPY src src
ARG URLSHORT_REVISION=unknown
# Cargo compares timestamps, and the copied files may be older than the stubs, so update them.
RUN find src -name '*.rs' -exec touch {} + \
    && URLSHORT_REVISION="${URLSHORT_REVISION}" cargo auditable build --locked --release --target "$(cat /target)" \
    && install -D "target/$(cat /target)/release/urlshort" /out/usr/local/bin/urlshort \
    && install -d /out/data

FROM ${RUNTIME_IMAGE}
ARG URLSHORT_REVISION=unknown
ARG URLSHORT_SOURCE=https://github.com/urlshort/urlshort
LABEL org.opencontainers.image.title="urlshort" \
      org.opencontainers.image.description="A URL shortener" \
      org.opencontainers.image.source="${URLSHORT_SOURCE}" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${URLSHORT_REVISION}"
# For PGSSLROOTCERT: none of the public CAs in the base image signs RDS certificates.
COPY infra/rds-ca/bundle.pem /etc/ssl/certs/rds-ca-bundle.pem
COPY --from=builder --chown=65532:65532 /out/data /data
COPY --from=builder /out/usr/local/bin/urlshort /usr/local/bin/urlshort
ENV STORE_URL=sqlite:/data/urlshort.db
USER 65532:65532
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/usr/local/bin/urlshort", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/urlshort"]
