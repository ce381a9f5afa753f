"""What holds for every test, set before anything imports torch.

One torch thread a worker, and none that spins while it waits: workers and runs of their own outnumber the
cores of a small machine otherwise. No test reaches the network. Ctrl-C arrives, also where a shell that
started the suite in the background had it ignored.
"""

import os
import signal

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)
