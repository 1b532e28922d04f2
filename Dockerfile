# The image of Manx, for amd64 and arm64. `npm run image -- FILE.tar` builds it without a registry; with Docker:
#   npm run image -- --context && docker build -t manx.dev/manx:0.1.0 .

FROM docker.io/library/debian:bookworm-slim AS plugins
RUN apt-get update \
	&& apt-get install -y --no-install-recommends containernetworking-plugins

FROM docker.io/library/debian:bookworm-slim
# iptables brings both backends, legacy and nft.
RUN apt-get update \
	&& apt-get install -y --no-install-recommends iptables ipset conntrack \
	&& rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*.log /var/log/apt
# A host without `loopback` fails every ADD; these are installed where the host lacks them.
COPY --from=plugins /usr/lib/cni/loopback /usr/lib/cni/portmap /usr/lib/cni/bandwidth /usr/lib/manx/cni/
# Node, the bundle, the native modules and the CNI executable: src/image/context.ts.
COPY build/image/ /
ENTRYPOINT ["/usr/local/bin/manx"]
