import copy

import torch
from torch import nn

from mobileinst_d2.checkpoint import folded_norms, refit_norms
from mobileinst_d2.modeling.layers import BatchNorm2d


def make_network() -> nn.Sequential:
    """A network with batch norms as after long training."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 4, 3, bias=False), BatchNorm2d(4),
    )  # fmt: skip
    with torch.no_grad():
        for layer in network:
            if isinstance(layer, BatchNorm2d):
                layer.weight.uniform_(0.5, 3.0)
                layer.bias.normal_()
        network.train()
        for _ in range(200):  # so that the running statistics are those of the data
            network(make_data())
    return network.eval()


def make_data() -> torch.Tensor:
    return torch.randn(16, 3, 12, 12) * 2 + 1


@torch.no_grad()
def fold(network: nn.Sequential) -> None:
    """Move scale and mean of the batch norms into the convolutions before them."""
    for conv, norm in ((network[0], network[1]), (network[3], network[4])):
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        conv.weight.mul_(scale[:, None, None, None])
        norm.bias.sub_(norm.running_mean * scale)
        norm.weight.fill_(1)
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)


@torch.no_grad()
def test_refitted_layers_train_as_the_original_ones():
    network, data = make_network(), make_data()

    def in_training() -> torch.Tensor:
        return copy.deepcopy(network).train()(data)

    evaluated, trained = network(data), in_training()
    fold(network)
    torch.testing.assert_close(network(data), evaluated, rtol=1e-4, atol=1e-4)
    assert (in_training() - trained).abs().mean() > 0.3  # what folding breaks
    refit_norms(folded_norms(network), lambda: [network(make_data()) for _ in range(20)])
    torch.testing.assert_close(network(data), evaluated, rtol=1e-4, atol=1e-4)
    assert (in_training() - trained).abs().mean() < 0.05


@torch.no_grad()
def test_processes_add_up():
    whole, parts = make_network(), make_network()
    first, second = make_data(), make_data()
    fold(whole)
    fold(parts)
    refit_norms(folded_norms(whole)[:1], lambda: [whole(first), whole(second)])
    other = []
    with torch.no_grad():
        x = parts[0](second).double().transpose(0, 1).flatten(1)
        other.append(torch.stack((torch.full_like(x[:, 0], x.shape[1]), x.sum(1), (x * x).sum(1))))
    refit_norms(folded_norms(parts)[:1], lambda: parts(first), lambda total: total.add_(other[0]))
    torch.testing.assert_close(parts[1].running_mean, whole[1].running_mean)
    torch.testing.assert_close(parts[1].running_var, whole[1].running_var)
