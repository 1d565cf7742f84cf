# The server's image: a build stage that compiles and runs the C++ tests, and a
# runtime stage without a compiler. deploy/scripts/prove-image.sh builds it
# without a Docker engine.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
WORKDIR /src
COPY deploy/packages.txt deploy/
COPY deploy/scripts/install-packages.sh deploy/scripts/runtime-packages.sh deploy/scripts/
RUN deploy/scripts/install-packages.sh build
COPY . .
RUN cmake --preset release && cmake --build --preset release
RUN ctest --preset release -j2
RUN mkdir -p /opt/chela/bin /opt/chela/share/chela \
  && cp build/release/bin/chela-server build/release/bin/chela-cli \
    build/release/bin/chela-bench build/release/bin/libchela_sentencepiece.so \
    /opt/chela/bin/ \
  && strip /opt/chela/bin/* \
  && cp -r models/chela-demo /opt/chela/share/chela/ \
  && cp LICENSE /opt/chela/share/chela/ \
  && deploy/scripts/runtime-packages.sh /opt/chela/bin/* > /runtime-packages.txt

FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="chela-server" \
  org.opencontainers.image.description="Inference server for CHELA language models" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}" \
  org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /runtime-packages.txt /tmp/
RUN apt-get update -qq \
  && xargs apt-get install -y -qq --no-install-recommends < /tmp/runtime-packages.txt \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log /tmp/runtime-packages.txt \
  && useradd --system --uid 10001 --user-group --no-create-home \
    --home-dir /nonexistent --shell /usr/sbin/nologin chela
COPY --from=build /opt/chela /opt/chela
ENV PATH=/opt/chela/bin:/usr/local/bin:/usr/bin:/bin

# Every interface of the container, without TLS or tokens: publish the ports
# only where everyone who can reach them may use the server, and put a proxy
# that does TLS and authentication in front of it elsewhere.
ENV CHELA_LISTEN=0.0.0.0:50051 \
  CHELA_METRICS_LISTEN=0.0.0.0:9464 \
  CHELA_INSECURE=true
USER 10001:10001
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["chela-cli", "health", "--timeout", "4s"]
ENTRYPOINT ["chela-server"]
