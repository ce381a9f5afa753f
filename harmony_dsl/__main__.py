"""`python -m harmony_dsl` is `harmonyc`."""

import sys

from harmony_dsl.cli.main import main

sys.exit(main())
