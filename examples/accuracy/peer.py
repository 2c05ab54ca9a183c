"""Runs the Python library pept on recordings, for the accuracy report: one JSON line a job on standard output.

usage: peer.py JOB.json     a list of {"lors": NPY, "out": NPY, "method": "one pass" | "two passes" | "birmingham", "sample_size",
                            "overlap", "tracers", "limit": seconds}
The result's columns are t x y z label.
"""

import json
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import numpy as np
import pept
from pept.tracking import (
    BirminghamMethod,
    Centroids,
    Cutpoints,
    HDBSCAN,
    Segregate,
    SplitLabels,
    Stack,
)


def steps(method, n):
    join = Segregate(20 * n, 10)
    if method == "birmingham":
        return [BirminghamMethod(0.5), Stack(), join]
    one = [Cutpoints(0.5), HDBSCAN(0.15, n), SplitLabels() + Centroids(error=True)]
    if method == "one pass":
        return one + [Stack(), join]
    again = [HDBSCAN(0.6, n), SplitLabels() + Centroids(), Stack()]
    return one + [Stack(sample_size=30 * n, overlap=30 * n - 1)] + again + [join]


for job in json.load(open(sys.argv[1])):
    lors = pept.LineData(
        np.load(job["lors"])[:, :7],
        sample_size=job["sample_size"],
        overlap=job["overlap"],
    )
    start = time.perf_counter()
    try:
        found = pept.Pipeline(steps(job["method"], job["tracers"])).fit(lors, verbose=False)
        found = found if isinstance(found, list) else [found]
        rows = []
        for table in found:
            label = table.columns.index("label")
            rows.append(np.c_[table.points[:, :4], table.points[:, label]])
        rows = np.vstack(rows)
        problem = None
    except Exception as error:  # what it says goes into the report
        rows = np.zeros((0, 5))
        problem = f"{type(error).__name__}: {error}"
    np.save(job["out"], rows)
    print(json.dumps({"seconds": time.perf_counter() - start, "problem": problem}), flush=True)
