# The server, with rportctl and the client beside it: docs/docker.md. State is in /var/lib/rport, all else may be read-only.
#
# Behind a proxy that has an authority of its own, or with an index of your own, builds take two files as secrets:
#   docker build --secret id=pip,src=pip.conf --secret id=ca,src=bundle.pem .

FROM debian:trixie-slim AS base
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt/lists/*

FROM base AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY ci/locks/build.txt ci/locks/image.txt ci/locks/
# The environment that is kept has no pip: that of the other one fills it.
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=ca,target=/run/ca.pem \
    if [ -e /run/ca.pem ]; then export PIP_CERT=/run/ca.pem; fi \
    && python3 -m venv /opt/build \
    && python3 -m venv --without-pip /opt/rport \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes -r ci/locks/build.txt \
    && /opt/build/bin/pip --python /opt/rport/bin/python install --no-cache-dir --require-hashes --only-binary :all: \
        -r ci/locks/image.txt
COPY pyproject.toml setup.py README.md LICENSE ./
COPY share share
COPY rport rport
RUN /opt/build/bin/pip --python /opt/build/bin/python wheel --no-cache-dir --no-index --no-deps --no-build-isolation -w dist . \
    && /opt/build/bin/pip --python /opt/rport/bin/python install --no-cache-dir --no-index --no-deps dist/*.whl

FROM base
LABEL org.opencontainers.image.title="rport" \
    org.opencontainers.image.description="Encrypted reverse tunnels over one HTTP connection" \
    org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 rport \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/rport --shell /usr/sbin/nologin rport \
    && install -d -m 700 -o rport -g rport /var/lib/rport
COPY --from=build /opt/rport /opt/rport
ENV PATH=/opt/rport/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    RPORT_STATE_DIR=/var/lib/rport
# By number, so that Kubernetes sees that it is not root.
USER 10001:10001
WORKDIR /var/lib/rport
VOLUME /var/lib/rport
EXPOSE 8080
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s --retries=3 CMD ["rportd", "health"]
ENTRYPOINT ["rportd"]
