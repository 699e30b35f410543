"""Points in maps, at which mask losses are taken (PointRend, Mask2Former)."""

import torch
import torch.nn.functional as F

__all__ = ["sample_points", "uncertain_points"]

# Undecided points are chosen among this many times as many as are wanted ...
_OVERSAMPLING = 3
# ... and are this part of them; the others are anywhere.
_SHARE = 0.75


def sample_points(maps: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Values of maps at points, bilinear and 0 outside.

    Args:
        maps: (B, C, h, w).
        points: (B, P, 2), x and y from 0 to 1, the borders of the map.

    Returns:
        (B, C, P).
    """
    grid = 2 * points[:, :, None] - 1
    return F.grid_sample(maps, grid, align_corners=False).squeeze(3)


@torch.no_grad()
def uncertain_points(logits: torch.Tensor, count: int) -> torch.Tensor:
    """Random points, most of them where masks are undecided (PointRend, section 3.1).

    Args:
        logits: (M, h, w), mask logits.
        count: number P of points.

    Returns:
        (M, P, 2), in [0, 1].
    """
    masks, chosen = len(logits), int(_SHARE * count)
    drawn = torch.rand(masks, _OVERSAMPLING * count, 2, device=logits.device)
    values = sample_points(logits[:, None], drawn)[:, 0]
    index = values.abs().topk(chosen, dim=1, largest=False).indices
    undecided = drawn.gather(1, index[:, :, None].expand(-1, -1, 2))
    anywhere = torch.rand(masks, count - chosen, 2, device=logits.device)
    return torch.cat((undecided, anywhere), dim=1)
