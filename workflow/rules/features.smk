# The features that metrics are computed on, those of tokenizers' perceptual loss, and the reference batch.

if tier.classifier:

    rule features:
        input:
            images=rules.data.output,
        output:
            CLASSIFIER,
        params:
            settings=settings(tier.classifier),
            code=digest("cca.stages.train_classifier"),
        log:
            f"{RESULTS}/logs/features.log",
        threads: 1
        resources:
            **needs("features"),
        shell:
            "cca --threads {threads} --device {resources.device} features --settings {params.settings:q}"
            " --images {input.images:q}"
            " --out {output:q} > {log:q} 2>&1"


if tier.perceptual:

    rule perceptual:
        input:
            images=rules.data.output,
        output:
            PERCEPTUAL,
        params:
            settings=settings(tier.perceptual),
            code=digest("cca.stages.train_classifier"),
        log:
            f"{RESULTS}/logs/perceptual.log",
        threads: 1
        resources:
            **needs("perceptual"),
        shell:
            "cca --threads {threads} --device {resources.device} features --settings {params.settings:q}"
            " --images {input.images:q}"
            " --out {output:q} > {log:q} 2>&1"


if tier.evaluation.reference is None:

    rule reference:
        input:
            images=rules.data.output,
            weights=WEIGHTS,
        output:
            REFERENCE,
        params:
            settings=settings(PROTOCOL),
            code=digest("cca.evaluate.reference"),
            weights=weights_option,
        log:
            f"{RESULTS}/logs/reference.log",
        threads: 1
        resources:
            **needs("reference"),
        shell:
            "cca --threads {threads} --device {resources.device} reference --settings {params.settings:q}"
            " --images {input.images:q}"
            " {params.weights:q} --out {output:q} > {log:q} 2>&1"

elif not isinstance(tier.evaluation.reference, Path):

    localrules:
        reference,

    rule reference:
        output:
            REFERENCE,
        params:
            settings=settings(tier.evaluation.reference),
        log:
            f"{RESULTS}/logs/reference.log",
        shell:
            "cca fetch --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"
