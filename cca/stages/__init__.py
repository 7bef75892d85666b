"""The stages of models and tokenizers: a module each, with its settings and a function `run`."""
