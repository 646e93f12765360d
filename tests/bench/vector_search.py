"""Exact search over 100,000 x 384 vectors, top 10, one thread: Blazon beside faiss-cpu from PyPI.

    python3 tests/bench/vector_search.py build/blazon_bench

It wants numpy and faiss-cpu 1.15.0. Both programs run in turns, by processor time, and the medians are compared.
"""

import json
import os
import statistics
import subprocess
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import faiss  # noqa: E402
import numpy  # noqa: E402

ROUNDS = 3
WORKLOAD = "retrieval/exact_scan_beside_faiss"


def main():
    faiss.omp_set_num_threads(1)
    random = numpy.random.default_rng(1)
    vectors = random.standard_normal((100_000, 384), dtype=numpy.float32)
    faiss.normalize_L2(vectors)
    queries = vectors[:15] + 0.1 * random.standard_normal((15, 384), dtype=numpy.float32)
    index = faiss.IndexFlatIP(384)
    index.add(vectors)
    theirs, plain, codes = [], [], []
    for _ in range(ROUNDS):
        for query in queries:
            start = time.thread_time()
            index.search(query[None], 10)
            theirs.append(1 / (time.thread_time() - start))
        run = subprocess.run(
            [sys.argv[1], f"--benchmark_filter={WORKLOAD}", "--benchmark_format=json"],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        result = json.loads(run.stdout)["benchmarks"][0]
        plain.append(result["fp32"])
        codes.append(result["codes"])
    base = statistics.median(theirs)
    print(f"faiss-cpu {faiss.__version__} IndexFlatIP: {base:.0f} queries/s")
    for name, rates in (("fp32", plain), ("codes", codes)):
        rate = statistics.median(rates)
        print(f"Blazon, {name}: {rate:.0f} queries/s, {rate / base:.2f} times")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
