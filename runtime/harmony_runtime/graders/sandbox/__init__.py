"""The sandbox: where code runs that a model wrote. No torch here.

Three processes make one run. The runtime starts the sandbox and waits; inside, a process that watches starts
the one that runs the program, and ends everything at its limits.
"""
