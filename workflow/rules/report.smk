# Tables and figures of the tier, and their copies where users ask for them.


rule table:
    input:
        files=lambda w: tier.table(w.table).files(Path(RESULTS)),
        reported=WORKFLOW / "resources/reported/{table}.csv",
    output:
        csv="results/{tier}/tables/{table}.csv",
        md="results/{tier}/tables/{table}.md",
        tex="results/{tier}/tables/{table}.tex",
        html=report(
            "results/{tier}/tables/{table}.html",
            caption="../resources/captions/table.rst",
            category="Tables",
            labels={"table": "{table}"},
        ),
    params:
        settings=lambda w: settings(tier.table(w.table)),
        code=lambda w: digest("cca.report.tables", f"cca.report.tables.{w.table}"),
        results=lambda w: f"results/{w.tier}",
        title=lambda w: title("tables", w.table),
    log:
        "results/{tier}/logs/tables/{table}.log",
    threads: 1
    shell:
        "cca --threads {threads} report table --settings {params.settings:q} --results {params.results:q}"
        " --reported {input.reported:q} --out {output.csv:q} > {log:q} 2>&1"


rule figure:
    input:
        files=lambda w: [f"{RESULTS}/{path}" for path in tier.figure(w.figure).needs()],
    output:
        pdf="results/{tier}/figures/{figure}.pdf",
        png=report(
            "results/{tier}/figures/{figure}.png",
            caption="../resources/captions/figure.rst",
            category="Figures",
            labels={"figure": "{figure}"},
        ),
        csv="results/{tier}/figures/{figure}.csv",
    params:
        settings=lambda w: settings(tier.figure(w.figure)),
        code=lambda w: digest("cca.report.figures", f"cca.report.figures.{w.figure}"),
        results=lambda w: f"results/{w.tier}",
        title=lambda w: title("figures", w.figure),
    log:
        "results/{tier}/logs/figures/{figure}.log",
    threads: 1
    shell:
        "cca --threads {threads} report figure --settings {params.settings:q} --results {params.results:q}"
        " --out {output.pdf:q} > {log:q} 2>&1"


localrules:
    all,
    publish_table,
    publish_figure,


rule publish_table:
    input:
        f"{RESULTS}/tables/{{table}}.{{kind}}",
    output:
        "results/{table}.{kind}",
    wildcard_constraints:
        table="|".join(tier.tables),
        kind="csv|md|tex",
    log:
        "results/logs/{table}.{kind}.log",
    shell:
        "cp {input:q} {output:q} 2> {log:q}"


rule publish_figure:
    input:
        f"{RESULTS}/figures/{{figure}}.{{kind}}",
    output:
        "paper_figures/{figure}.{kind}",
    wildcard_constraints:
        figure="|".join(tier.figures),
        kind="pdf|png|csv",
    log:
        "results/logs/{figure}.{kind}.log",
    shell:
        "cp {input:q} {output:q} 2> {log:q}"
