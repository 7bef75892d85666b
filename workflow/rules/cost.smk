# What sampling costs without and with guidance.


rule cost:
    input:
        model=rules.pretrain.output,
        tokenizer=of_tokenizer("tokenizer.safetensors"),
    output:
        "results/{tier}/{model}/cost.json",
    params:
        settings=lambda w: settings(tier.cost_of(w.model)),
        code=lambda w: digest("cca.stages.cost", *model_code(w.model)),
    log:
        "results/{tier}/logs/cost/{model}.log",
    # One thread computes; the others are kept idle, so that no job beside it disturbs the times.
    threads: workflow.resource_settings.cores or 1
    resources:
        **needs("cost"),
    shell:
        "cca --threads 1 --device {resources.device} cost --settings {params.settings:q}"
        " --model {input.model:q}"
        " --tokenizer {input.tokenizer:q} --out {output:q} > {log:q} 2>&1"
