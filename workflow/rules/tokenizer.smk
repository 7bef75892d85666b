# Tokenizers, the training images as their codes in shards that do not change them, and how good they are.


rule tokenizer:
    input:
        images=rules.data.output,
        perceptual=lambda w: PERCEPTUAL if tier.tokenizers[w.tokenizer].training.perceptual else [],
    output:
        "results/{tier}/tokenizers/{tokenizer}/tokenizer.safetensors",
    wildcard_constraints:
        tokenizer=names("tokenizers", imported=False),
    params:
        settings=lambda w: settings(tier.tokenizers[w.tokenizer].making),
        code=lambda w: digest("cca.stages.train_tokenizer", f"cca.tokenizers.{tier.tokenizers[w.tokenizer].kind}"),
        perceptual=perceptual_option,
    log:
        "results/{tier}/logs/tokenizer/{tokenizer}.log",
    threads: 1
    resources:
        **needs("tokenizer"),
    shell:
        "cca --threads {threads} --device {resources.device} tokenizer --settings {params.settings:q}"
        " --images {input.images:q}"
        " {params.perceptual:q} --out {output:q} > {log:q} 2>&1"


rule encode:
    input:
        images=rules.data.output,
        tokenizer=rules.tokenizer.output,
    output:
        "results/{tier}/tokenizers/{tokenizer}/codes/{shards}/shard_{shard}.safetensors",
    params:
        settings=lambda w: settings(tier.tokenizers[w.tokenizer].codes),
        code=lambda w: digest("cca.data.encode", f"cca.tokenizers.{tier.tokenizers[w.tokenizer].kind}"),
    log:
        "results/{tier}/logs/encode/{tokenizer}_{shard}_of_{shards}.log",
    threads: 1
    resources:
        **needs("encode"),
    shell:
        "cca --threads {threads} --device {resources.device} encode --settings {params.settings:q}"
        " --images {input.images:q}"
        " --tokenizer {input.tokenizer:q} --shard {wildcards.shard} --shards {wildcards.shards}"
        " --out {output:q} > {log:q} 2>&1"


rule codes:
    input:
        expand(rules.encode.output, shard=range(tier.code_shards), shards=tier.code_shards, allow_missing=True),
    output:
        "results/{tier}/tokenizers/{tokenizer}/codes.npz",
    params:
        folder=lambda w, input: Path(input[0]).parent,
        code=digest("cca.data.codes"),
    log:
        "results/{tier}/logs/codes/{tokenizer}.log",
    threads: 1
    resources:
        **needs("codes"),
    shell:
        "cca --threads {threads} codes --shards {params.folder:q} --out {output:q} > {log:q} 2>&1"


rule quality:
    input:
        images=rules.data.output,
        tokenizer=rules.tokenizer.output,
        reference=REFERENCE,
        weights=WEIGHTS,
    output:
        "results/{tier}/tokenizers/{tokenizer}/quality.json",
    params:
        settings=settings(PROTOCOL),
        code=lambda w: digest("cca.stages.tokenizer_quality", f"cca.tokenizers.{tier.tokenizers[w.tokenizer].kind}"),
        weights=weights_option,
    log:
        "results/{tier}/logs/quality/{tokenizer}.log",
    threads: 1
    resources:
        **needs("quality"),
    shell:
        "cca --threads {threads} --device {resources.device} quality --settings {params.settings:q}"
        " --images {input.images:q}"
        " --tokenizer {input.tokenizer:q} --reference {input.reference:q} {params.weights:q}"
        " --out {output:q} > {log:q} 2>&1"
