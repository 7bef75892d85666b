# Guidance-free autoregressive image generation, as one DAG. Try:
#
#   snakemake --cores all results/table2.csv
#   snakemake paper_figures/fig4_lambda_sweep.pdf
#   snakemake results/table2.csv --config tier=smoke        (the target first: --config takes all that follows)


include: "workflow/rules/common.smk"


report: "workflow/resources/captions/workflow.rst"


rule all:
    default_target: True
    input:
        ARTEFACTS,
        "results/report.html",


rule artefacts:
    input:
        ARTEFACTS,


include: "workflow/rules/data.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/tokenizer.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/checkpoints.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/sample.smk"
include: "workflow/rules/cost.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/external.smk"
include: "workflow/rules/inception.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/pitfalls.smk"
include: "workflow/rules/theory.smk"
include: "workflow/rules/html.smk"
