# Samples, in shards that do not change them.


rule sample:
    input:
        model=lambda w: f"{RESULTS}/{experiment(w).checkpoint}",
        tokenizer=of_tokenizer("tokenizer.safetensors"),
    output:
        "results/{tier}/{model}/{finetune}/seed={seed}/s={scale}/samples/{shards}/shard_{shard}.npz",
    params:
        settings=lambda w: settings(tier.sampling(w.model, float(w.scale))),
        code=lambda w: digest("cca.stages.sampling", *model_code(w.model)),
    log:
        "results/{tier}/logs/sample/{model}_{finetune}_seed={seed}_s={scale}_{shard}_of_{shards}.log",
    threads: 1
    resources:
        **needs("sample"),
    shell:
        "cca --threads {threads} --device {resources.device} sample --settings {params.settings:q}"
        " --model {input.model:q}"
        " --tokenizer {input.tokenizer:q} --seed {wildcards.seed} --shard {wildcards.shard}"
        " --shards {wildcards.shards} --out {output:q} > {log:q} 2>&1"
