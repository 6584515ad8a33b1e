"""Nearest neighbours over a published snapshot: build and search."""

import os

# OpenMP's threads wait for one another by spinning, unless they are told before FAISS loads; on a machine that has other work to do
# that makes training five to ten times slower (56 s instead of 6 for 1,024 lists), and on one that has none it saves nothing
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
