# The scheduler in a container: `docker build -t medallion .`, for amd64 and arm64. See docker-compose.yml for running it.
#
# Python 3.13: every locked wheel exists for it on both processors, and it gets security fixes until October 2029.
# The tag names the patch release and the Debian release, so that the same Dockerfile builds the same thing in a year.
ARG PYTHON=3.13.14-slim-trixie

FROM python:${PYTHON} AS build
WORKDIR /build
# The locks first: this layer stays while only the source changes. Only wheels, each with its locked hash. Python's own
# byte code is made here, on all processors, since nobody can write it later; the packages' tests go without.
COPY requirements.txt requirements-build.txt ./
RUN python -m venv --without-pip /opt/medallion \
 && python -m pip --python /opt/medallion install --no-cache-dir --no-compile --disable-pip-version-check \
      --require-hashes --only-binary=:all: -r requirements.txt \
 && python -m compileall -q -j 0 -x '/tests?/' /opt/medallion/lib \
 && python -m venv --without-pip tools \
 && python -m pip --python tools install --no-cache-dir --no-compile --disable-pip-version-check \
      --require-hashes --only-binary=:all: -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY supabase/migrations supabase/migrations
RUN python -m pip --python tools wheel --no-cache-dir --disable-pip-version-check \
      --no-deps --no-build-isolation --wheel-dir wheels . \
 && python -m pip --python /opt/medallion install --no-cache-dir --disable-pip-version-check \
      --no-deps --no-index wheels/*.whl

FROM python:${PYTHON}
# A user with a name: PostgreSQL does not start as root, and initdb not as a user that /etc/passwd does not know.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin medallion \
 && install --directory --owner=medallion --group=medallion /data
COPY --from=build /opt/medallion /opt/medallion
ENV PATH=/opt/medallion/bin:$PATH \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    DATA_DIR=/data
# /data and /tmp are all that is written: run it with --read-only --tmpfs /tmp.
VOLUME /data
WORKDIR /data
USER 10001:10001
HEALTHCHECK --interval=60s --timeout=30s --start-period=300s --retries=3 CMD ["medallion", "health"]
ENTRYPOINT ["medallion"]
CMD ["schedule"]
