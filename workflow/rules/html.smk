# Every artefact on one page, and Snakemake's report: that page, captions, run times, settings.

PARTS = [
    *([("The paper's claims", "claims/claims.html")] if tier.claims else []),
    *((title("tables", name), f"tables/{name}.html") for name in sorted(tier.tables)),
    *((title("figures", name), f"figures/{name}.png") for name in sorted(tier.figures)),
    *([("The theory in exact small worlds", "theory/theory.html")] if tier.theory else []),
    *([("Why is my FID different?", "pitfalls/pitfalls.html")] if tier.pitfalls else []),
]


localrules:
    artefacts,
    html_report,


rule overview:
    input:
        [f"{RESULTS}/{file}" for _, file in PARTS],
    output:
        report(
            f"{RESULTS}/overview.html",
            caption="../resources/captions/overview.rst",
            category="Overview",
            labels={"page": "Everything on one page"},
        ),
    params:
        settings=settings(
            {
                "title": f"Guidance-free autoregressive image generation: {tier.benchmark}",
                "parts": [{"title": name, "file": file} for name, file in PARTS],
            }
        ),
        code=digest("cca.report.overview"),
        results=lambda w: RESULTS,
    log:
        f"{RESULTS}/logs/overview.log",
    threads: 1
    shell:
        "cca --threads {threads} report overview --settings {params.settings:q} --results {params.results:q}"
        " --out {output:q} > {log:q} 2>&1"


rule html_report:
    input:
        ARTEFACTS,
        rules.overview.output,
    output:
        "results/report.html",
    params:
        python=sys.executable,
        snakefile=os.path.relpath(workflow.main_snakefile),
        config=[f"{key}={json.dumps(value)}" for key, value in sorted({"tier": TIER, **config}.items())],
    log:
        "results/logs/report.log",
    shell:
        "{params.python:q} -m snakemake overview -s {params.snakefile:q} --nolock --report {output:q}"
        " --config {params.config:q} > {log:q} 2>&1"
