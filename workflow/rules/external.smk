# Other systems: files of their samples, fetched where they are URLs, measured as this project's own.


localrules:
    fetch,


rule fetch:
    output:
        f"{RESULTS}/external/{{system}}/samples.npz",
    # No digest of the code: the checksum says what the file is, and it may be large.
    params:
        settings=lambda w: settings(tier.external[w.system].download),
    log:
        f"{RESULTS}/logs/external/fetch_{{system}}.log",
    shell:
        "cca fetch --settings {params.settings:q} --out {output:q} > {log:q} 2>&1"


use rule evaluate as evaluate_external with:
    input:
        reference=REFERENCE,
        weights=WEIGHTS,
        samples=samples_of_system,
    output:
        f"{RESULTS}/external/{{system}}/metrics.json",
    params:
        samples=lambda w, input: input.samples,
    log:
        f"{RESULTS}/logs/external/evaluate_{{system}}.log",
