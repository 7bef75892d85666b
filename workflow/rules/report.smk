# Tables and figures of the tier, and their copies where users ask for them.


def files(kind, name):
    return [f"{RESULTS}/{path}" for path in getattr(tier, kind)[name].files()]


rule table:
    input:
        files=lambda w: files("tables", w.table),
        reported=WORKFLOW / "resources/reported/{table}.csv",
    output:
        csv=RESULTS + "/tables/{table}.csv",
        md=RESULTS + "/tables/{table}.md",
        tex=RESULTS + "/tables/{table}.tex",
    params:
        settings=lambda w: settings(tier.table(w.table)),
        code=lambda w: digest("cca.report.tables", f"cca.report.tables.{w.table}"),
        results=RESULTS,
    log:
        RESULTS + "/logs/tables/{table}.log",
    threads: 1
    shell:
        "cca --threads {threads} report table --settings {params.settings:q} --results {params.results:q}"
        " --reported {input.reported:q} --out {output.csv:q} > {log:q} 2>&1"


rule figure:
    input:
        files=lambda w: files("figures", w.figure),
    output:
        pdf=RESULTS + "/figures/{figure}.pdf",
        png=RESULTS + "/figures/{figure}.png",
        csv=RESULTS + "/figures/{figure}.csv",
    params:
        settings=lambda w: settings(tier.figure(w.figure)),
        code=lambda w: digest("cca.report.figures", f"cca.report.figures.{w.figure}"),
        results=RESULTS,
    log:
        RESULTS + "/logs/figures/{figure}.log",
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
        RESULTS + "/tables/{table}.{kind}",
    output:
        "results/{table}.{kind}",
    wildcard_constraints:
        table="|".join(tier.tables),
        kind="csv|md|tex",
    shell:
        "cp {input:q} {output:q}"


rule publish_figure:
    input:
        RESULTS + "/figures/{figure}.{kind}",
    output:
        "paper_figures/{figure}.{kind}",
    wildcard_constraints:
        figure="|".join(tier.figures),
        kind="pdf|png|csv",
    shell:
        "cp {input:q} {output:q}"
