# One page with every artefact, its caption, run times and settings, by Snakemake's report plug-in.


localrules:
    artefacts,
    html_report,


rule html_report:
    input:
        ARTEFACTS,
    output:
        "results/report.html",
    params:
        python=sys.executable,
        snakefile=os.path.relpath(workflow.main_snakefile),
        config=[f"{key}={json.dumps(value)}" for key, value in sorted({"tier": TIER, **config}.items())],
    log:
        "results/logs/report.log",
    shell:
        "{params.python:q} -m snakemake artefacts -s {params.snakefile:q} --nolock --report {output:q}"
        " --config {params.config:q} > {log:q} 2>&1"
