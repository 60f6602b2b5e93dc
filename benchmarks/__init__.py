"""Speed, measured against floors and rivals in the same run: `python -m benchmarks`. Goals, not tests."""
