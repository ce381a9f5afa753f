"""The runtime: takes a compiled graph and trains it. The way in is `executor.run`."""
