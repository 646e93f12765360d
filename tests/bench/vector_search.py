"""Search by vectors, one thread, top 10: Blazon beside faiss-cpu (exact) and hnswlib (graphs).

    python3 tests/bench/vector_search.py build/blazon_bench exact
    build/blazon embed - < lines.txt > vectors.txt
    python3 tests/bench/vector_search.py build/blazon_bench graphs vectors.txt

It wants numpy, faiss-cpu 1.15.0 and hnswlib 0.8.0. The programs run in turns, by processor time, and the medians are
compared. Graphs: over the vectors of a file as `blazon embed` prints them (several files may be given), the last 500
being the queries, each at its least effort that finds 0.95 of the ten nearest.
"""

import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"

import faiss  # noqa: E402
import numpy  # noqa: E402

ROUNDS = 3
WIDTH = 384
QUERIES = 500


def bench(program, workload):
    command = [program, f"--benchmark_filter={workload}", "--benchmark_format=json"]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return json.loads(run.stdout)["benchmarks"][0]


def seconds_of(action):
    start = time.thread_time()
    action()
    return time.thread_time() - start


def exact(program):
    random = numpy.random.default_rng(1)
    vectors = random.standard_normal((100_000, WIDTH), dtype=numpy.float32)
    faiss.normalize_L2(vectors)
    queries = vectors[:15] + 0.1 * random.standard_normal((15, WIDTH), dtype=numpy.float32)
    index = faiss.IndexFlatIP(WIDTH)
    index.add(vectors)
    theirs, plain, codes = [], [], []
    for _ in range(ROUNDS):
        for query in queries:
            theirs.append(1 / seconds_of(lambda: index.search(query[None], 10)))
        result = bench(program, "retrieval/exact_scan_beside_faiss")
        plain.append(result["fp32"])
        codes.append(result["codes"])
    base = statistics.median(theirs)
    print(f"faiss-cpu {faiss.__version__} IndexFlatIP: {base:.0f} queries/s")
    for name, rates in (("fp32", plain), ("codes", codes)):
        rate = statistics.median(rates)
        print(f"Blazon, {name}: {rate:.0f} queries/s, {rate / base:.2f} times")


def graphs(program, files):
    import hnswlib

    vectors = numpy.concatenate([numpy.loadtxt(file, dtype=numpy.float32, ndmin=2) for file in files])
    assert vectors.shape[1] == WIDTH and len(vectors) > 10 * QUERIES
    base, queries = vectors[:-QUERIES], vectors[-QUERIES:]
    flat = faiss.IndexFlatIP(WIDTH)
    flat.add(base)
    least = flat.search(queries, 10)[0][:, -1:] - 1e-6
    index = hnswlib.Index("ip", WIDTH)
    index.init_index(len(base), M=16, ef_construction=200, random_seed=1)
    index.set_num_threads(1)
    build = seconds_of(lambda: index.add_items(base, num_threads=1))
    for effort in (10, 12, 16, 20, 24, 28, 32, 40, 48, 64, 80, 96, 128, 192, 256, 384, 512):
        index.set_ef(effort)
        labels, _ = index.knn_query(queries, 10, num_threads=1)
        products = numpy.einsum("qd,qkd->qk", queries, base[labels])
        recall = (products >= least).mean()
        if recall >= 0.95:
            break
    with tempfile.NamedTemporaryFile(suffix=".f32") as file:
        vectors.tofile(file)
        file.flush()
        os.environ["BLAZON_VECTORS"] = file.name
        theirs, ours = [], []
        for _ in range(ROUNDS):
            for _ in range(5):
                theirs.append(QUERIES / seconds_of(lambda: index.knn_query(queries, 10, num_threads=1)))
            ours.append(bench(program, "retrieval/graph_beside_exact_scan"))
    base_rate = statistics.median(theirs)
    print(f"{len(base)} vectors. hnswlib {importlib.metadata.version('hnswlib')}: recall {recall:.3f} at ef {effort}, {base_rate:.0f} "
          f"queries/s; build {1e6 * build / len(base):.0f} us a vector")
    middle = {key: statistics.median(run[key] for run in ours) for key, value in ours[0].items() if type(value) is float}
    print(f"Blazon, graph: recall {middle['recall']:.3f} at effort {middle['effort']:.0f}, {middle['graph']:.0f} queries/s, "
          f"{middle['graph'] / base_rate:.2f} times; build {middle['build_us_a_row']:.0f} us a vector")
    print(f"Blazon, as searches use it, 100 deep: recall {middle['index_recall']:.3f}, {middle['index']:.0f} queries/s")
    for share in ("10%", "1%"):
        print(f"  {share} allowed: recall {middle[f'filtered_{share}_recall']:.3f}, {middle[f'filtered_{share}']:.0f} "
              f"queries/s, {middle[f'filtered_{share}/index']:.2f} times")
    print(f"Blazon, exact, 100 deep: {middle['exact']:.0f} queries/s")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2] == "exact":
        exact(sys.argv[1])
    elif len(sys.argv) > 3 and sys.argv[2] == "graphs":
        graphs(sys.argv[1], sys.argv[3:])
    else:
        sys.exit(__doc__)
