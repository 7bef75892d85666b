"""OpenAI's ADM evaluation suite in PyTorch: FID, sFID, Inception Score, precision and recall.

The metrics are functions of features: `cca.evaluate.fid`, `inception_score`, `precision_recall` on
`statistics` and arrays. `extractors` turns images into features, `samples` reads files of either, and
`evaluator` puts them together: ``evaluate(reference, samples, settings)``.
"""
