# SPDX-License-Identifier: Apache-2.0
# Martlet in a container. Build:  docker build --tag martlet .
# Run for development:            docker run --rm --publish 9092:9092 martlet dev --listen 0.0.0.0:9092 --plaintext anywhere --advertise localhost:9092
# Run with data that stays:       docker run --publish 9092:9092 --volume martlet:/var/lib/martlet martlet serve \
#                                   --listen 0.0.0.0:9092 --advertise broker.example.org:9092
# Callers of a published port come from the bridge's address, not from loopback: they need TLS with a client certificate
# (/var/lib/martlet/certs), unless `--plaintext anywhere` says otherwise. docs/operations.md tells more.

FROM swift:6.3-bookworm AS build
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      git make pkg-config libnghttp2-dev libssl-dev liblz4-dev zlib1g-dev libzstd-dev libsnappy-dev libyaml-dev \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
WORKDIR /martlet
# The dependencies are a layer of their own; Package.resolved is where somebody has resolved them before, not in a fresh clone.
COPY Package.swift Package.resolved* ./
RUN swift package resolve
COPY . .
RUN make build

FROM debian:bookworm-slim
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      libnghttp2-14 libssl3 liblz4-1 zlib1g libzstd1 libsnappy1v5 libyaml-0-2 libstdc++6 \
    && apt-get clean && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 9092 martlet \
    && useradd --uid 9092 --gid 9092 --no-log-init --no-create-home --home-dir /var/lib/martlet \
      --shell /usr/sbin/nologin martlet \
    && install -d -o martlet -g martlet -m 0750 /var/lib/martlet
COPY --from=build /martlet/.build/martlet /usr/bin/martlet
# As numbers: Kubernetes' runAsNonRoot does not trust a name. Volumes belong to them, so they must stay.
USER 9092:9092
WORKDIR /var/lib/martlet
VOLUME /var/lib/martlet
EXPOSE 9092
STOPSIGNAL SIGTERM
# Where the health check finds the broker, whatever its listeners take. Warnings (status 1) are no reason to be restarted.
ENV MARTLET_READY_FILE=/var/lib/martlet/ready.json
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD martlet doctor --running >/dev/null || [ $? -eq 1 ]
ENTRYPOINT ["/usr/bin/martlet"]
CMD ["serve", "--listen", "0.0.0.0:9092"]
