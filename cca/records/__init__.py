"""Records: what made an artefact, the way back to the raw data, and digests of the code."""
