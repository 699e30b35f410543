"""One thread for the products of matrices after the network.

They take a millisecond, but the threads of OpenBLAS, NumPy's library for them, go on waiting busily
for the next one: the demo had half its frames per second on two cores, which they took from the
network, reading and drawing.
"""

import numpy as np  # noqa: F401  (its library must be there to be found)
from threadpoolctl import ThreadpoolController

__all__ = ["one_blas_thread"]

# Decorates a function. The number is that of the process: it is what it was after the call.
one_blas_thread = ThreadpoolController().wrap(limits=1, user_api="blas")
