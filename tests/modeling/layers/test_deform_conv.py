import pytest
import torch
from detectron2.layers import Conv2d
from torch import nn

from mobileinst_d2.modeling.layers import DeformableConv2d


@pytest.mark.parametrize("stride", [1, 2])
def test_without_offsets_it_is_the_convolution_that_it_is_made_of(stride):
    conv = Conv2d(4, 6, 3, stride, 1, bias=False, norm=nn.GroupNorm(2, 6))
    x = torch.randn(2, 4, 9, 7)
    torch.testing.assert_close(DeformableConv2d(conv)(x), conv(x))


def test_offsets_are_pairs_of_rows_and_columns_for_each_position_of_the_window():
    conv = nn.Conv2d(1, 1, 3, padding=1, bias=False)
    deformable = DeformableConv2d(conv)
    with torch.no_grad():
        deformable.offset.bias.view(9, 2)[:] = torch.tensor([2.0, -1.0])
    x = torch.zeros(1, 1, 12, 12)
    x[0, 0, 6, 6] = 1.0
    shifted = torch.roll(x, (-2, 1), (2, 3))
    torch.testing.assert_close(deformable(x), conv(shifted))


def test_the_weights_stay_the_same_parameters_and_offsets_learn():
    conv = nn.Conv2d(2, 2, 3, padding=1)
    deformable = DeformableConv2d(conv)
    assert deformable.weight is conv.weight
    assert sorted(deformable.state_dict()) == ["bias", "offset.bias", "offset.weight", "weight"]
    deformable(torch.randn(1, 2, 5, 5)).square().sum().backward()
    assert deformable.offset.weight.grad.abs().max() > 0


def test_groups_are_refused():
    with pytest.raises(ValueError, match="has 2 groups"):
        DeformableConv2d(nn.Conv2d(4, 4, 3, groups=2))
