"""Compiled kernels: arrays and NamedTuples in, arrays out; mm, µs, MHz. They know no anatomy."""
