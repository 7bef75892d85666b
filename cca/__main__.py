"""``python -m cca`` is ``cca``."""

from cca.cli import main

main()
