# The same metrics by Inception's features, beside those of the tier's own classifier, for table 2.

if tier.evaluation.inception:
    REFERENCE_BY_INCEPTION = f"{RESULTS}/reference/inception.npz"
    WEIGHTS_OF_INCEPTION = [str(tier.evaluation.inception_weights)]

    use rule reference as reference_by_inception with:
        input:
            images=rules.data.output,
            weights=WEIGHTS_OF_INCEPTION,
        output:
            REFERENCE_BY_INCEPTION,
        params:
            settings=settings(tier.evaluation.by_inception),
        log:
            f"{RESULTS}/logs/reference_by_inception.log",

    use rule evaluate as evaluate_by_inception with:
        input:
            reference=REFERENCE_BY_INCEPTION,
            weights=WEIGHTS_OF_INCEPTION,
            samples=rules.evaluate.input.samples,
        output:
            "results/{tier}/{model}/{finetune}/seed={seed}/s={scale}/inception.json",
        params:
            settings=settings(tier.evaluation.by_inception),
        log:
            "results/{tier}/logs/evaluate/{model}_{finetune}_seed={seed}_s={scale}_by_inception.log",

    use rule evaluate_external as evaluate_external_by_inception with:
        input:
            reference=REFERENCE_BY_INCEPTION,
            weights=WEIGHTS_OF_INCEPTION,
            samples=samples_of_system,
        output:
            f"{RESULTS}/external/{{system}}/inception.json",
        params:
            settings=settings(tier.evaluation.by_inception),
        log:
            f"{RESULTS}/logs/external/evaluate_{{system}}_by_inception.log",
