"""The FLOPs that the paper publishes, row by row, and the config that each row is rebuilt from."""

from typing import NamedTuple

__all__ = ["PAPER_ROWS", "PAPER_SIZE", "PAPER_TOLERANCE", "PaperRow"]

# The largest test image, 640x864, padded to a multiple of 64.
PAPER_SIZE = (640, 896)

# Relative difference up to which a row counts as reproduced. Two decimals are published: half of
# the last one is up to 0.027 % of a row.
PAPER_TOLERANCE = 5e-4


class PaperRow(NamedTuple):
    """One row of the paper's tables.

    Attributes:
        row: table and name.
        published: the paper's FLOPs, in units of 1e9 multiply-accumulates.
        config: name of its file in ``configs/mobileinst/ablations``.
    """

    row: str
    published: float
    config: str


# "ours" of Table 6 stands for two more rows: it is "global + local" of Table 3 and
# "max 8x8" of Table 5, at the same cost.
PAPER_ROWS = (
    PaperRow("Table 6: SparseInst, 4x conv", 34.69, "table6_sparseinst-4conv.yaml"),
    PaperRow("Table 6: SparseInst, 2x conv", 24.11, "table6_sparseinst-2conv.yaml"),
    PaperRow("Table 6: SparseInst, 1x conv", 18.82, "table6_sparseinst-1conv.yaml"),
    PaperRow("Table 6: FPN, 1x conv", 18.48, "table6_fpn-1conv.yaml"),
    PaperRow("Table 6: ours", 24.24, "table6_ours.yaml"),
    PaperRow("Table 6: ours + semantic enhancer", 24.37, "table6_ours-enhancers.yaml"),
    PaperRow("Table 3: global", 24.17, "table3_global.yaml"),
    PaperRow("Table 3: local", 24.15, "table3_local.yaml"),
    PaperRow("Table 3: global x2", 24.24, "table3_global-global.yaml"),
    PaperRow("Table 3: local x2", 24.22, "table3_local-local.yaml"),
    PaperRow("Table 5: no pooling", 25.85, "table5_no-pooling.yaml"),
    PaperRow("Table 5: max 4x4", 24.32, "table5_max4.yaml"),
    PaperRow("Table 5: average 8x8", 24.24, "table5_avg8.yaml"),
)
