# The daemon in an image of its own: no shell, no package manager, not root.
#
#   docker build --tag marathon-envoy --build-arg REVISION="$(git rev-parse HEAD)" .

FROM rust:1.95-slim-bookworm AS build
# The allocator is built from its C sources.
RUN apt-get update && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# No repository is in here, so whoever builds says the revision.
ARG REVISION=unknown
ENV MARATHON_ENVOY_REVISION=${REVISION}
# What was fetched and compiled stays in the builder's cache from one build to the next. It is no
# part of the layer, so the binary is taken out of it. The simulators and `demo` stay outside.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --no-default-features --package marathon-envoy \
    && install -D target/release/marathon-envoy /out/marathon-envoy

# The same Debian, so the same libc; with it the system's CAs and the accounts, and that is all.
FROM gcr.io/distroless/cc-debian12:nonroot
ARG REVISION=unknown
LABEL org.opencontainers.image.title="marathon-envoy" \
      org.opencontainers.image.description="A control plane that turns Mesosphere Marathon into a live edge of Envoy proxies" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.base.name="gcr.io/distroless/cc-debian12:nonroot"
COPY --from=build /out/marathon-envoy /usr/local/bin/marathon-envoy
COPY LICENSE-APACHE LICENSE-MIT /usr/share/doc/marathon-envoy/
# `nonroot`, as a number: so it can be checked before there is an /etc/passwd to look it up in.
USER 65532:65532
# Proxies, operators. Both listen on the container's loopback until XDS_LISTEN and ADMIN_LISTEN say
# otherwise.
EXPOSE 5000 5001
# Alive is whoever answers on ADMIN_LISTEN; whether it is ready too is /readyz.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["/usr/local/bin/marathon-envoy", "status"]
ENTRYPOINT ["/usr/local/bin/marathon-envoy"]
CMD ["serve"]
