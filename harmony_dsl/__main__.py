"""`python -m harmony_dsl` is `harmonyc`."""

from harmony_dsl.cli.main import main
from harmony_dsl.worker import leave

leave(main())
