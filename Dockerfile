# The image of Resguardo: one for the operator and for the pods of backups and restores.
#
# It starts from PostgreSQL's official image, so that pg_dump, pg_restore, pg_basebackup and pg_receivewal are of the
# server's major version: build one per major, e.g. --build-arg BASE=postgres:17-bookworm.
#
# What takes room: the base (about 430 MB, of which 120 MB are LLVM for the server's JIT), Python (35 MB), the packages
# of requirements.lock (130 MB, of which the Kubernetes client is 56). pip and compilers stay outside.
ARG BASE=postgres:15-bookworm

FROM ${BASE} AS python
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-minimal libpython3-stdlib ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin

FROM python AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN apt-get update -q \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends python3-venv
# Two environments: one to build with, which has pip, and the one that ships, which has not.
RUN python3 -m venv /opt/build && python3 -m venv --without-pip /opt/resguardo
WORKDIR /src
# Before the code, so that a change of the code neither installs nor ships them again. Of botocore's descriptions of
# every service (25 MB), those that are asked for stay; of the Kubernetes client its second, asynchronous copy goes
# (41 MB, and as much compiled), and of zstandard the backend for other Pythons than this (12 MB).
COPY requirements.lock ./
RUN /opt/build/bin/pip --python /opt/resguardo/bin/python install -q --require-hashes --no-deps -r requirements.lock \
 && cd /opt/resguardo/lib/python3*/site-packages \
 && find botocore/data boto3/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name sts ! -name sso ! -name sso-oidc -exec rm -r {} + \
 && rm -r kubernetes/aio zstandard/_cffi.*.so \
 && /opt/resguardo/bin/python -m compileall -q -j 0 . \
 && echo /opt/resguardo/app > app.pth

FROM dependencies AS build
# The build backend, with the hashes of the developers' lock file.
COPY requirements-dev.lock ./
RUN awk '/^[^ #]/ {wanted = /^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/} wanted' requirements-dev.lock > build.lock \
 && /opt/build/bin/pip install -q --require-hashes --no-deps -r build.lock
COPY pyproject.toml LICENSE ./
COPY operator ./operator
# The page that package registries show is not needed here, and its changes would build the image again.
RUN touch README.md \
 && /opt/build/bin/pip wheel -q --no-deps --no-build-isolation --wheel-dir dist . \
 && /opt/build/bin/pip --python /opt/resguardo/bin/python install -q --no-deps --no-index --compile --target /opt/app dist/*.whl

FROM python
RUN groupadd --gid 65532 resguardo && useradd --uid 65532 --gid 65532 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin resguardo
COPY --from=dependencies /opt/resguardo /opt/resguardo
COPY --from=build /opt/app /opt/resguardo/app
# /usr/lib/postgresql/*/bin is on PATH in the official image already.
ENV PATH=/opt/resguardo/app/bin:/opt/resguardo/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
USER 65532:65532
# The official image's is SIGINT, which PostgreSQL understands as "fast shutdown".
STOPSIGNAL SIGTERM
ENTRYPOINT ["resguardo"]
CMD ["--help"]
