# Images, read from their source and split; the held-out ones again as a file of samples. What the source holds is no file of the workflow; its
# fingerprint is compared in its place.

from cca.data.images import fingerprint

try:
    images_fingerprint = fingerprint(tier.data)
except CCAError as error:
    images_fingerprint, images_missing = None, error  # a run that needs them ends with it when it starts
    if workflow.is_main_process:
        print(f"no images yet: {error}", file=sys.stderr)
else:
    images_missing = None


rule data:
    output:
        f"{RESULTS}/data/images.npz",
    params:
        settings=settings(tier.data),
        source=images_fingerprint,
        code=digest("cca.data.images", f"cca.data.sources.{tier.data.source}"),
    log:
        f"{RESULTS}/logs/data.log",
    threads: 8 if tier.data.corrupt == "skip" else 1  # where all images are decoded to find the corrupt ones
    resources:
        **needs("data"),
    shell:
        "cca --threads {threads} data --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule heldout:
    input:
        images=rules.data.output,
    output:
        f"{RESULTS}/data/heldout.npz",
    params:
        settings=settings({"seed": tier.data.seed}),
        code=digest("cca.data.heldout"),
    log:
        f"{RESULTS}/logs/heldout.log",
    threads: 1
    resources:
        **needs("heldout"),
    shell:
        "cca --threads {threads} heldout --settings {params.settings:q} --images {input.images:q}"
        " --out {output:q} > {log:q} 2>&1"
