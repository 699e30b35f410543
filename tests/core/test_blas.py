"""BLAS has one thread for the products after the network, and as many as before afterwards."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_limits

from mobileinst_core.postprocessing import mask_product
from mobileinst_core.tracking import association

_KERNELS = np.ones((6, 8), np.float32)


def _threads() -> set[int]:
    """Of the library that comes with NumPy; SciPy may have loaded another one."""
    libraries = ThreadpoolController().select(user_api="blas").info()
    return {x["num_threads"] for x in libraries if "numpy" in x["filepath"]}


@pytest.mark.parametrize(
    "product",
    [
        lambda: mask_product(_KERNELS, np.ones((8, 4, 4), np.float32)),
        lambda: association.associate(_KERNELS, _KERNELS),
    ],
    ids=["mask_product", "associate"],
)
def test_products_take_one_thread(monkeypatch, product):
    seen = []

    class Watched(np.ndarray):
        """Remembers the threads of BLAS at each product."""

        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
            if ufunc is np.matmul:
                seen.append(_threads())
            plain = [x.view(np.ndarray) if isinstance(x, Watched) else x for x in inputs]
            return getattr(ufunc, method)(*plain, **kwargs)

    monkeypatch.setitem(globals(), "_KERNELS", _KERNELS.view(Watched))

    def run():
        with threadpool_limits(2, user_api="blas"):
            if _threads() != {2}:
                pytest.skip("the threads of NumPy's library cannot be set")
            product()
            assert _threads() == {2}

    run()
    with ThreadPoolExecutor(1) as other:  # where the demo tracks
        other.submit(run).result()
    assert seen == [{1}, {1}]
