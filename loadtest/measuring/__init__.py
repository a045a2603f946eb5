"""What `compare.py` and `soak.py` measure with, from the kernel's accounting up to tables: each module uses only those that are named before it here.

machine, programs, shapes, loads, report
"""
