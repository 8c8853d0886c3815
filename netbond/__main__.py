"""`python -m netbond`: the same as the `netbond` command."""

import sys

from netbond.cli import main

if __name__ == "__main__":
    sys.exit(main())
