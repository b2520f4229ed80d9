"""``python -m ketastats`` is the same as ``ketastats``."""

import sys

from ketastats.cli import main

if __name__ == "__main__":
    sys.exit(main())
