# docker build -t cca . ; how to run it: docs/containers.md
FROM python:3.11-slim

# git, so that every record can name the commit that a number was made with; any version will do
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git \
    && rm -rf /var/lib/apt/lists/* \
    && git config --system --add safe.directory /opt/cca \
    && useradd --create-home --uid 1000 cca \
    && install --directory --owner=cca --mode=0777 /work

WORKDIR /opt/cca
COPY . .
RUN pip install --no-cache-dir -e . -c constraints.txt

# for any user that `docker run --user` names, who may have no home
ENV XDG_CACHE_HOME=/tmp/cache MPLCONFIGDIR=/tmp/matplotlib
USER 1000
WORKDIR /work
ENTRYPOINT ["snakemake", "--snakefile", "/opt/cca/Snakefile"]
CMD ["--cores", "all", "results/table2.csv"]
