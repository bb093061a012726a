# cloudtrail-exporter as an image; docs/image.md tells how to run it, `make image` builds it and proves what it says.
# Any glibc image with python3 3.11 or newer and venv will do, for both stages. Pin it by digest where a build must not move:
#   --build-arg PYTHON_IMAGE=python:3.13-slim@sha256:...
ARG PYTHON_IMAGE=python:3.13-slim

FROM ${PYTHON_IMAGE} AS build
# Where packages come from is the builder's business: a pip.conf (and the certificate it names) as secrets, or nothing.
ENV PIP_CONFIG_FILE=/run/secrets/pip.conf \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python3 -m venv pip && python3 -m venv --without-pip /opt/cloudtrail-exporter
COPY tools/image/build-requirements.txt requirements/runtime.txt ./
# Wheels only: what would need a compiler fails here, and by name.
RUN --mount=type=secret,id=pip.conf --mount=type=secret,id=pip-ca.crt --mount=type=cache,target=/root/.cache/pip \
    pip/bin/pip install --quiet --require-hashes --only-binary=:all: -r build-requirements.txt \
    && pip/bin/pip --python /opt/cloudtrail-exporter install --quiet --no-compile --require-hashes --only-binary=:all: \
        -r runtime.txt
COPY LICENSE README.md pyproject.toml ./
COPY exporter exporter
# Seconds since 1970 that the wheel carries as its time; without it the wheel still builds.
ARG SOURCE_DATE_EPOCH
# Bytecode that is valid by itself: a layer may carry any file times, and a read-only root could never compile anew.
RUN pip/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir wheels . \
    && pip/bin/pip --python /opt/cloudtrail-exporter install --quiet --no-compile --no-cache-dir --no-deps --no-index \
        wheels/*.whl \
    && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/cloudtrail-exporter/lib

FROM ${PYTHON_IMAGE}
# The base's pip goes, its standard library gets bytecode where it came without, and only /tmp and the state stay writable.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip \
        /usr/lib/python3*/ensurepip /usr/share/python-wheels \
    && python3 -m compileall -q --invalidation-mode unchecked-hash -x '/(site-packages|idlelib|lib2to3|test|tkinter|turtledemo)/' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && find / -xdev -type d -perm -o+w ! -path /tmp -exec chmod o-w {} +
COPY --from=build /opt/cloudtrail-exporter /opt/cloudtrail-exporter

# These differ from build to build. A step that runs has to follow them: buildah's cache looks at arguments there only.
ARG VERSION=""
ARG REVISION=""
ARG CREATED=""
ARG SOURCE=""
RUN install --directory --owner=65532 --group=65532 --mode=0700 /var/lib/cloudtrail-exporter

ENV PATH=/opt/cloudtrail-exporter/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONFAULTHANDLER=1 \
    MALLOC_ARENA_MAX=2 \
    STATE_DIRECTORY=/var/lib/cloudtrail-exporter \
    CLOUDTRAIL_EXPORTER_REVISION=${REVISION}
LABEL org.opencontainers.image.title="cloudtrail-exporter" \
      org.opencontainers.image.description="AWS CloudTrail events of one service as OpenTelemetry logs and exact Prometheus counters" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}"
# No VOLUME: a runtime would put an unnamed one in its place and lose the ledger in silence. Mount the state directory.
USER 65532:65532
EXPOSE 10042
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=20s \
    CMD ["cloudtrail-exporter", "healthcheck", "--web.listen-address=:10042"]
ENTRYPOINT ["cloudtrail-exporter"]
CMD ["run", "--web.listen-address=:10042"]
