# Sallyport in a container: no shell, no package manager, a numeric user, and nothing to write but the audit trail.
#
#   docker build -t sallyport .
#   docker run --read-only --cap-drop ALL --security-opt no-new-privileges -p 127.0.0.1:3128:3128 sallyport
#
# Both stages are from one base; pin it by digest in production: --build-arg BASE=cgr.dev/chainguard/node@sha256:…
# (then BUILD_BASE too).
ARG BASE=cgr.dev/chainguard/node:latest
ARG BUILD_BASE=cgr.dev/chainguard/node:latest-dev

FROM ${BUILD_BASE} AS build
USER 0
WORKDIR /build
COPY package.json package-lock.json ./
# No scripts: nothing that is installed here needs one, koffi brings its binary prebuilt.
RUN npm ci --ignore-scripts --no-audit --no-fund
# .dockerignore says what there is.
COPY . .
# One folder to copy on, and an empty one whose owner a new volume takes.
RUN node node_modules/typescript/bin/tsc -p tsconfig.build.json \
 && cp -r src/admin/page dist/admin/ && cp -r src/review/html/assets dist/review/html/ \
 && npm prune --omit=dev --ignore-scripts --no-audit --no-fund \
 && mkdir -p app log \
 && mv package.json LICENSE node_modules dist bin config app/

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="sallyport" \
      org.opencontainers.image.description="Forward HTTPS proxy that lets out only what a written document allows" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="cgr.dev/chainguard/node:latest"
WORKDIR /app
COPY --from=build /build/app /app
COPY deploy/container/sallyport.yaml /etc/sallyport/sallyport.yaml
COPY --from=build --chown=65532:65532 /build/log /var/log/sallyport
# The trail: writable under --read-only, and a volume without a name where nobody gives it one.
VOLUME /var/log/sallyport
# Room for what is new on V8's heap, in MiB: with its own choice, of 16, a gate under load takes 25 to 50 MB more for nothing.
ENV NODE_ENV=production NODE_OPTIONS=--max-semi-space-size=4
USER 65532:65532
EXPOSE 3128 9128
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
  CMD ["/usr/bin/node", "/app/bin/sallyport.js", "healthcheck", "--config", "/etc/sallyport/sallyport.yaml"]
ENTRYPOINT ["/usr/bin/node", "/app/bin/sallyport.js"]
CMD ["serve", "--config", "/etc/sallyport/sallyport.yaml"]
