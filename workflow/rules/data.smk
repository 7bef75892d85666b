# Images, read from their source and split.


rule data:
    output:
        f"{RESULTS}/data/images.npz",
    params:
        settings=settings(tier.data),
        code=digest("cca.data.images", f"cca.data.sources.{tier.data.source}"),
    log:
        f"{RESULTS}/logs/data.log",
    threads: 1
    shell:
        "cca --threads {threads} data --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"
