# How far each metric moves when one thing is done wrong, in sampling or in evaluating.

if tier.pitfalls:

    localrules:
        publish_pitfalls,

    use rule sample as sample_variant with:
        output:
            "results/{tier}/{model}/{finetune}/seed={seed}/s={scale}/{variant}/samples/{shards}/shard_{shard}.npz",
        params:
            settings=lambda w: settings(tier.sampling_variant(w.model, float(w.scale), w.variant)),
            code=lambda w: digest("cca.stages.sampling", *model_code(w.model)),
        log:
            "results/{tier}/logs/sample_variant/{model}_{finetune}_seed={seed}_s={scale}_{variant}_{shard}_of_{shards}.log",

    rule pitfalls:
        input:
            samples=[
                f"{RESULTS}/{draw.folder}/shard_{shard}.npz"
                for draw in tier.pitfalls.draws(tier.shards)
                for shard in range(tier.shards)
            ],
            images=rules.data.output,
            reference=REFERENCE,
            weights=WEIGHTS,
        output:
            json=f"{RESULTS}/pitfalls/pitfalls.json",
            csv=f"{RESULTS}/pitfalls/pitfalls.csv",
            md=f"{RESULTS}/pitfalls/pitfalls.md",
            html=report(
                f"{RESULTS}/pitfalls/pitfalls.html",
                caption="../resources/captions/pitfalls.rst",
                category="Tables",
                labels={"table": "Why is my FID different?"},
            ),
        params:
            settings=settings(tier.measured_pitfalls()),
            code=digest("cca.pitfalls.measure"),
            results=lambda w: RESULTS,
            weights=weights_option,
        log:
            f"{RESULTS}/logs/pitfalls.log",
        threads: 1
        resources:
            **needs("pitfalls"),
        shell:
            "cca --threads {threads} --device {resources.device} pitfalls --settings {params.settings:q}"
            " --results {params.results:q}"
            " --images {input.images:q} --reference {input.reference:q} {params.weights:q}"
            " --out {output.json:q} > {log:q} 2>&1"

    rule publish_pitfalls:
        input:
            f"{RESULTS}/pitfalls/pitfalls.{{kind}}",
        output:
            "results/pitfalls.{kind}",
        wildcard_constraints:
            kind="csv|md",
        log:
            "results/logs/pitfalls.{kind}.log",
        shell:
            "cp {input:q} {output:q} 2> {log:q}"
