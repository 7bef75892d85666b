# Metrics of an experiment's samples against the reference batch.


rule evaluate:
    input:
        reference=REFERENCE,
        weights=WEIGHTS,
        samples=expand(rules.sample.output, shard=range(tier.shards), shards=tier.shards, allow_missing=True),
    output:
        "results/{tier}/{model}/{finetune}/seed={seed}/s={scale}/metrics.json",
    params:
        settings=settings(PROTOCOL),
        code=digest("cca.evaluate.evaluator"),
        weights=weights_option,
        samples=lambda w, input: Path(input.samples[0]).parent,
    log:
        "results/{tier}/logs/evaluate/{model}_{finetune}_seed={seed}_s={scale}.log",
    threads: 1
    resources:
        **needs("evaluate"),
    shell:
        "cca --threads {threads} --device {resources.device} evaluate {input.reference:q} {params.samples:q}"
        " --settings {params.settings:q} {params.weights:q} --out {output:q} > {log:q} 2>&1"
