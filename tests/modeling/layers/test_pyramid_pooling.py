import torch
import torch.nn.functional as F

from mobileinst_d2.modeling.layers import PyramidPooling, bilinear_resize, fix_size_constants


def test_it_exports_as_products_with_constants_at_sizes_that_the_bins_do_not_divide():
    pooling = PyramidPooling(4, 2).eval()
    x = torch.randn(1, 4, 19, 27)
    expected = pooling(x)
    fix_size_constants(pooling, lambda: pooling(x))
    assert not any(module._forward_hooks for module in pooling.modules())
    exported = torch.export.export(pooling, (x,), strict=False)
    calls = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert calls
    assert not any("pool" in call for call in calls)
    torch.testing.assert_close(exported.module()(x), expected)
    adaptive = [
        bilinear_resize(branch(F.adaptive_avg_pool2d(x, pool.bins)), (19, 27))
        for pool, branch in zip(pooling.pools, pooling.branches, strict=True)
    ]
    torch.testing.assert_close(expected, pooling.bottleneck(torch.cat((*adaptive, x), dim=1)))
