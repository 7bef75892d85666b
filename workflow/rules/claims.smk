# The paper's claims, judged on the tier's measurements, and their copies where users ask for them.

if tier.claims:

    localrules:
        publish_claims,

    rule claims:
        input:
            files=tier.judged_claims().files(Path(RESULTS)),
            claims=WORKFLOW / "resources/claims.yaml",
            reported=sorted((WORKFLOW / "resources/reported").glob("*.csv")),
        output:
            csv=f"{RESULTS}/claims/claims.csv",
            md=f"{RESULTS}/claims/claims.md",
            html=report(
                f"{RESULTS}/claims/claims.html",
                caption="../resources/captions/claims.rst",
                category="Claims",
            ),
        params:
            settings=settings(tier.judged_claims()),
            code=digest("cca.report.claims"),
            results=lambda w: RESULTS,
            reported=WORKFLOW / "resources/reported",
        log:
            f"{RESULTS}/logs/claims.log",
        threads: 1
        shell:
            "cca --threads {threads} claims --settings {params.settings:q} --results {params.results:q}"
            " --claims {input.claims:q} --reported {params.reported:q} --out {output.csv:q} > {log:q} 2>&1"

    rule publish_claims:
        input:
            f"{RESULTS}/claims/claims.{{kind}}",
        output:
            "results/claims.{kind}",
        wildcard_constraints:
            kind="csv|md",
        log:
            "results/logs/claims.{kind}.log",
        shell:
            "cp {input:q} {output:q} 2> {log:q}"
