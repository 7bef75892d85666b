# The paper's theory in exact small worlds, and its copies where users ask for them.

if tier.theory:

    localrules:
        publish_theory,

    rule theory:
        output:
            csv=f"{RESULTS}/theory/theory.csv",
            worlds=f"{RESULTS}/theory/theory.worlds.csv",
            md=f"{RESULTS}/theory/theory.md",
            html=report(
                f"{RESULTS}/theory/theory.html",
                caption="../resources/captions/theory.rst",
                category="Theory",
            ),
        params:
            settings=settings(tier.theory),
            code=digest("cca.theory", *(f"cca.objectives.{name}" for name in tier.theory.uses())),
        log:
            f"{RESULTS}/logs/theory.log",
        threads: 1
        shell:
            "cca --threads {threads} theory --settings {params.settings:q} --out {output.csv:q} > {log:q} 2>&1"

    rule publish_theory:
        input:
            f"{RESULTS}/theory/theory.{{kind}}",
        output:
            "results/theory.{kind}",
        wildcard_constraints:
            kind="csv|md",
        log:
            "results/logs/theory.{kind}.log",
        shell:
            "cp {input:q} {output:q} 2> {log:q}"
