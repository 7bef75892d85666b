# Pairs and their reference log-likelihoods, in shards that do not change them, once a base model and seed; then every finetune.
# Objectives that tell real from generated images have samples of the base model as negatives.


rule pairs:
    input:
        codes=of_tokenizer("codes.npz"),
        shards=code_shards,
    output:
        "results/{tier}/{model}/pairs/mask={mask}/seed={seed}/pairs.npz",
    params:
        settings=lambda w: settings(tier.pairs(w.model, float(w.mask))),
        code=digest("cca.stages.pairs"),
    log:
        "results/{tier}/logs/pairs/{model}_mask={mask}_seed={seed}.log",
    threads: 1
    resources:
        **needs("pairs"),
    shell:
        "cca --threads {threads} pairs --settings {params.settings:q} --codes {input.codes:q}"
        " --seed {wildcards.seed} --out {output:q} > {log:q} 2>&1"


rule fakes:
    input:
        base=rules.pretrain.output,
        tokenizer=of_tokenizer("tokenizer.safetensors"),
        codes=of_tokenizer("codes.npz"),
        shards=code_shards,
        pairs=rules.pairs.output,
    output:
        "results/{tier}/{model}/pairs/mask={mask}/seed={seed}/fakes.npz",
    params:
        settings=lambda w: settings(tier.fakes(w.model)),
        code=lambda w: digest("cca.stages.fakes", *model_code(w.model)),
    log:
        "results/{tier}/logs/fakes/{model}_mask={mask}_seed={seed}.log",
    threads: 1
    resources:
        **needs("fakes"),
    shell:
        "cca --threads {threads} --device {resources.device} fakes --settings {params.settings:q}"
        " --base {input.base:q}"
        " --tokenizer {input.tokenizer:q} --codes {input.codes:q} --pairs {input.pairs:q}"
        " --seed {wildcards.seed} --out {output:q} > {log:q} 2>&1"


rule score:
    input:
        base=rules.pretrain.output,
        tokenizer=of_tokenizer("tokenizer.safetensors"),
        codes=of_tokenizer("codes.npz"),
        shards=code_shards,
        pairs=rules.pairs.output,
    output:
        "results/{tier}/{model}/pairs/mask={mask}/seed={seed}/scores/{shards}/shard_{shard}.npz",
    params:
        settings=lambda w: settings(tier.score(w.model)),
        code=lambda w: digest("cca.stages.score", *model_code(w.model)),
        fakes=fakes_option,
    log:
        "results/{tier}/logs/score/{model}_mask={mask}_seed={seed}_{shard}_of_{shards}.log",
    threads: 1
    resources:
        **needs("score"),
    shell:
        "cca --threads {threads} --device {resources.device} score --settings {params.settings:q}"
        " --base {input.base:q}"
        " --tokenizer {input.tokenizer:q} --codes {input.codes:q} --pairs {input.pairs:q}"
        " {params.fakes:q} --seed {wildcards.seed} --shard {wildcards.shard} --shards {wildcards.shards}"
        " --out {output:q} > {log:q} 2>&1"


use rule score as score_fakes with:
    input:
        **rules.score.input,
        fakes=rules.fakes.output,
    output:
        "results/{tier}/{model}/pairs/mask={mask}/seed={seed}/fake_scores/{shards}/shard_{shard}.npz",
    log:
        "results/{tier}/logs/score_fakes/{model}_mask={mask}_seed={seed}_{shard}_of_{shards}.log",


rule finetune:
    input:
        base=rules.pretrain.output,
        tokenizer=of_tokenizer("tokenizer.safetensors"),
        codes=of_tokenizer("codes.npz"),
        shards=code_shards,
        pairs=of_pairs("pairs.npz"),
        scores=if_samples(score_shards("fake_scores"), score_shards("scores")),
        fakes=if_samples(of_pairs("fakes.npz"), lambda w: []),
    output:
        model="results/{tier}/{model}/{finetune}/seed={seed}/model.safetensors",
        log="results/{tier}/{model}/{finetune}/seed={seed}/model.log.csv",
    wildcard_constraints:
        finetune=names("finetunes", imported=False),
    params:
        settings=lambda w: settings(tier.finetune(w.model, w.finetune)),
        code=lambda w: digest(
            "cca.stages.finetune", *model_code(w.model), f"cca.objectives.{tier.finetunes[w.finetune].objective['name']}"
        ),
        scores=lambda w, input: Path(input.scores[0]).parent,
        fakes=fakes_option,
    log:
        "results/{tier}/logs/finetune/{model}_{finetune}_seed={seed}.log",
    threads: 1
    resources:
        **needs("finetune"),
    shell:
        "cca --threads {threads} --device {resources.device} finetune --settings {params.settings:q}"
        " --base {input.base:q}"
        " --tokenizer {input.tokenizer:q} --codes {input.codes:q} --pairs {input.pairs:q}"
        " --scores {params.scores:q} {params.fakes:q} --seed {wildcards.seed} --out {output.model:q}"
        " --processes {resources.processes} --nodes {resources.nodes} > {log:q} 2>&1"
