"""BLAS has one thread for the products after the network, and as many as before afterwards."""

import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from mobileinst_core.arrays import one_blas_thread
from mobileinst_core.postprocessing import mask_product
from mobileinst_core.tracking.association import associate


def _threads() -> set[int]:
    """Of the library that comes with NumPy; SciPy may have loaded another one."""
    libraries = ThreadpoolController().select(user_api="blas").info()
    return {x["num_threads"] for x in libraries if "numpy" in x["filepath"]}


def test_a_product_takes_one_thread_and_leaves_what_was():
    assert all(hasattr(product, "__wrapped__") for product in (mask_product, associate))
    with threadpool_limits(2, user_api="blas"):
        if _threads() != {2}:
            pytest.skip("the threads of NumPy's library cannot be set")
        assert one_blas_thread(_threads)() == {1}
        with pytest.raises(ZeroDivisionError):
            one_blas_thread(lambda: 1 / 0)()
        assert _threads() == {2}
