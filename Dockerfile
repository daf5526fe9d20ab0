# Both base images can be replaced, by a mirror's for instance:
#   docker build --build-arg BUILD_IMAGE=... --build-arg RUNTIME_IMAGE=... .
# The build image needs Rust and gcc; the runtime image only glibc, as new as the build image's or newer.
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILD_IMAGE} AS build
WORKDIR /build

# The dependencies first, with an empty program in place of ours: this layer lasts until a dependency changes.
# Tests and benches are not here yet, so what the manifest says about them is left out.
COPY Cargo.toml Cargo.lock ./
RUN cp Cargo.toml Cargo.toml.full \
    && sed -i -e '/^\[\[test\]\]/,/^$/d' -e '/^\[\[bench\]\]/,/^$/d' Cargo.toml \
    && mkdir src \
    && echo '//! Nothing yet.' > src/lib.rs \
    && printf '//! Nothing yet.\nfn main() {}\n' > src/main.rs \
    && cargo build --release --locked \
    && cargo clean --release --locked --package redkeep \
    && mv Cargo.toml.full Cargo.toml

COPY . .
RUN cargo build --release --locked --bin redkeep

FROM ${RUNTIME_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="redkeep" \
      org.opencontainers.image.description="The authenticating, TLS-terminating proxy in front of a real Redis" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /build/target/release/redkeep /usr/local/bin/redkeep

# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 6380
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/redkeep", "healthcheck", "--config", "/etc/redkeep/redkeep.yaml"]
ENTRYPOINT ["/usr/local/bin/redkeep"]
CMD ["run", "--config", "/etc/redkeep/redkeep.yaml"]
