"""Tables and figures, made from metrics of experiments and from reported numbers."""
