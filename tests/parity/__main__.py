"""`make parity`: the whole table, then the mutations. Exits with 1 where a row is outside its tolerance, or a
mutation leaves every row within."""

from __future__ import annotations

import os
import sys

# Before torch is imported; small tensors only wait for one another's threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from collections import Counter

import harmony_runtime.losses as ours
from parity import mutations, stages
from parity.mutations import MUTATIONS
from parity.peers import NOTES
from parity.table import printed, summary


def main() -> int:
    rows = [*mutations.checked(ours), *stages.rows(ours)]
    outside = [row for row in rows if not row.ok]
    print(printed(rows))
    print("", *NOTES, "", summary(rows), "", f"{len(rows)} rows, {len(outside)} outside", "", sep="\n")

    unseen = 0
    for mutation in MUTATIONS:
        broken = mutations.broken(mutation)
        unseen += not broken
        print(f"mutation ({mutation.kind}): {mutation.what}: {len(broken)} rows outside")
        kinds = Counter(f"{row.algorithm} against {row.reference}, {row.what}" for row in broken)
        for kind, number in kinds.items():
            print(f"  {number:3} × {kind}")
    print(f"{len(MUTATIONS)} mutations, {unseen} unseen")
    return bool(outside or unseen)


if __name__ == "__main__":
    sys.exit(main())
