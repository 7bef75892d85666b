# Base models.


rule pretrain:
    input:
        tokenizer=of_tokenizer("tokenizer.safetensors"),
        codes=of_tokenizer("codes.npz"),
        shards=code_shards,
    output:
        "results/{tier}/{model}/base/model.safetensors",
    wildcard_constraints:
        model=names("models", imported=False),
    params:
        settings=lambda w: settings(tier.models[w.model].making),
        code=lambda w: digest("cca.stages.pretrain", *model_code(w.model)),
    log:
        "results/{tier}/logs/pretrain/{model}.log",
    threads: 1
    priority: 1  # the longest path
    resources:
        **needs("pretrain"),
    shell:
        "cca --threads {threads} --device {resources.device} pretrain --settings {params.settings:q}"
        " --tokenizer {input.tokenizer:q}"
        " --codes {input.codes:q} --out {output:q}"
        " --processes {resources.processes} --nodes {resources.nodes} > {log:q} 2>&1"
