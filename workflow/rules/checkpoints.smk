# Weights that others made, kept for all tiers: official ones of the Hugging Face Hub, which are imported, and Inception's.

FILES = {str(file.place): file for file in tier.checkpoints()}
DOWNLOADS = [re.escape(place) for place, entry in FILES.items() if entry.download]


localrules:
    download,
    fetch_inception,


rule download:
    output:
        "{place}",
    wildcard_constraints:
        place="|".join(DOWNLOADS) or "none",
    # No digest of the code, and kept whatever else changes: the checksum says what the file is.
    params:
        settings=lambda w: settings(FILES[w.place].download),
    log:
        f"{RESULTS}/logs/{{place}}.log",
    shell:
        "cca download --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule fetch_inception:
    output:
        str(FETCHED_INCEPTION),
    params:
        settings=settings(INCEPTION_WEIGHTS),
    log:
        f"{RESULTS}/logs/{FETCHED_INCEPTION}.log",
    shell:
        "cca fetch --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


rule import_tokenizer:
    input:
        lambda w: tier.tokenizers[w.tokenizer].checkpoint.place,
    output:
        rules.tokenizer.output,
    wildcard_constraints:
        tokenizer=names("tokenizers", imported=True),
    params:
        settings=lambda w: settings(tier.tokenizers[w.tokenizer].making),
        code=lambda w: digest(
            "cca.stages.import_tokenizer", *(f"cca.{part}.{tier.tokenizers[w.tokenizer].kind}" for part in ("imports", "tokenizers"))
        ),
    log:
        "results/{tier}/logs/import_tokenizer/{tokenizer}.log",
    threads: 1
    resources:
        **needs("import_tokenizer"),
    shell:
        "cca --threads {threads} import tokenizer --settings {params.settings:q} --checkpoint {input:q}"
        " --out {output:q} > {log:q} 2>&1"


rule import_model:
    input:
        checkpoint=lambda w: tier.models[w.model].checkpoint.place,
        tokenizer=of_tokenizer("tokenizer.safetensors"),
    output:
        rules.pretrain.output,
    wildcard_constraints:
        model=names("models", imported=True),
    params:
        settings=lambda w: settings(tier.models[w.model].making),
        code=lambda w: digest(
            "cca.stages.import_model", f"cca.imports.{tier.models[w.model].making.family}", *model_code(w.model)
        ),
    log:
        "results/{tier}/logs/import_model/{model}.log",
    threads: 1
    resources:
        **needs("import_model"),
    shell:
        "cca --threads {threads} import model --settings {params.settings:q} --checkpoint {input.checkpoint:q}"
        " --tokenizer {input.tokenizer:q} --out {output:q} > {log:q} 2>&1"


use rule import_model as import_finetune with:
    input:
        checkpoint=lambda w: tier.finetunes[w.finetune].checkpoints[w.model].place,
        tokenizer=of_tokenizer("tokenizer.safetensors"),
    output:
        "results/{tier}/{model}/{finetune}/seed={seed}/model.safetensors",
    wildcard_constraints:
        finetune=names("finetunes", imported=True),
    params:
        settings=lambda w: settings(tier.models[w.model].holding(tier.finetunes[w.finetune].checkpoints[w.model])),
    log:
        "results/{tier}/logs/import_finetune/{model}_{finetune}_seed={seed}.log",
