"""`python -m r3lib …`, which is `r3 …`: the experiments from the command line. `r3 -h` lists the commands."""

import sys

from r3lib.machine.cli import main

if __name__ == "__main__":
    sys.exit(main())
