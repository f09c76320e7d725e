"""`python -m blossom.cli`: the same as the command `blossom`."""

import sys

from blossom.cli.application import main

sys.exit(main())
