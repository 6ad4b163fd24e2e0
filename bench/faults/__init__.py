"""The fault benchmark: broken runs, healthy runs, and an independent judge of what was said and done about them.

python -m bench.faults --stratum small                      one minute; what the tests run
python -m bench.faults --stratum whole --half held-out      hours; writes docs/fault-benchmark.md
"""
