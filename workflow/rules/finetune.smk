# Pairs and their reference log-likelihoods, once a base model and seed; then every finetune.


rule pairs:
    input:
        codes=of_tokenizer("codes.npz"),
    output:
        RESULTS + "/{model}/pairs/seed={seed}/pairs.npz",
    params:
        settings=lambda w: settings(tier.models[w.model].pairs),
        code=digest("cca.pairs"),
    log:
        RESULTS + "/logs/pairs/{model}_seed={seed}.log",
    threads: 1
    shell:
        "cca --threads {threads} pairs --settings {params.settings:q} --codes {input.codes:q}"
        " --seed {wildcards.seed} --out {output:q} > {log:q} 2>&1"


rule score:
    input:
        base=rules.pretrain.output,
        tokenizer=of_tokenizer("tokenizer.safetensors"),
        codes=of_tokenizer("codes.npz"),
        pairs=rules.pairs.output,
    output:
        RESULTS + "/{model}/pairs/seed={seed}/scores.npz",
    params:
        settings=lambda w: settings(tier.score(w.model)),
        code=lambda w: digest("cca.score", *model_code(w.model)),
    log:
        RESULTS + "/logs/score/{model}_seed={seed}.log",
    threads: 1
    shell:
        "cca --threads {threads} score --settings {params.settings:q} --base {input.base:q}"
        " --tokenizer {input.tokenizer:q} --codes {input.codes:q} --pairs {input.pairs:q}"
        " --seed {wildcards.seed} --out {output:q} > {log:q} 2>&1"


rule finetune:
    input:
        base=rules.pretrain.output,
        tokenizer=of_tokenizer("tokenizer.safetensors"),
        codes=of_tokenizer("codes.npz"),
        pairs=rules.pairs.output,
        scores=rules.score.output,
    output:
        RESULTS + "/{model}/{finetune}/seed={seed}/model.safetensors",
    params:
        settings=lambda w: settings(tier.finetune(w.model, w.finetune)),
        code=lambda w: digest(
            "cca.finetune", *model_code(w.model), f"cca.objectives.{tier.finetunes[w.finetune]['name']}"
        ),
    log:
        RESULTS + "/logs/finetune/{model}_{finetune}_seed={seed}.log",
    threads: 1
    shell:
        "cca --threads {threads} finetune --settings {params.settings:q} --base {input.base:q}"
        " --tokenizer {input.tokenizer:q} --codes {input.codes:q} --pairs {input.pairs:q}"
        " --scores {input.scores:q} --seed {wildcards.seed} --out {output:q} > {log:q} 2>&1"
