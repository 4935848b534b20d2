"""`python -m r3lib …`: the experiments from the command line. `python -m r3lib -h` lists the commands."""

import sys

from r3lib.machine.cli import main

if __name__ == "__main__":
    sys.exit(main())
