import torch
from random_weights import randomise
from torch import nn

from mobileinst_d2.modeling.layers import SemanticInjection


def test_the_global_feature_is_resized_after_the_gate():
    module = randomise(SemanticInjection(6, 10, 8)).eval()
    x_local, x_global = torch.randn(2, 6, 4, 6), torch.randn(2, 10, 2, 3) * 3

    def up(x):
        return nn.functional.interpolate(x, (4, 6), mode="bilinear", align_corners=False)

    gate = (module.global_act(x_global) + 3).clamp(0, 6) / 6  # h-sigmoid
    expected = module.local_embedding(x_local) * up(gate) + up(module.global_embedding(x_global))
    torch.testing.assert_close(module(x_local, x_global), expected, atol=1e-5, rtol=1e-5)
