"""What turns Detectron2 0.6 (2021) into a pure-Python package for today's libraries.

Each `Edit` names a file, a fragment that must occur exactly as often as stated, its replacement
and the reason. Most are backports of what Detectron2's own main branch changed after the tag.
The edits keep the meaning of the code; what is broken in the main branch as well stays as it is.

Change `BUILD` with every change of this table: installed older builds are then replaced.
"""

from __future__ import annotations

from detectron2_wheel import Edit, Recipe

BUILD = 1

_NO_COMPILER = "the C++ operators are optional, so that the package needs no compiler"
_NUMPY = "NumPy 1.24 removed the aliases of Python's own types"
_SCHEDULER = "torch's public base class of schedulers is LRScheduler"
_CPU = "several processes can also run on the CPU, with the gloo backend"
_AMP = "torch.cuda.amp is deprecated in favour of torch.amp"

_C_OPS_FILE = '''\
"""The compiled operators, or a stand-in that says what is missing when one of them is used."""

try:
    from detectron2 import _C
except ImportError:

    class _MissingOps:
        """Raises ImportError when an operator is looked up."""

        def __getattr__(self, name):
            if name.startswith("__"):  # lookups by inspect, copy and the like
                raise AttributeError(name)
            raise ImportError(
                f"detectron2._C.{name} is not available: this is a pure-Python Detectron2 without "
                "the C++ operators (rotated boxes, deformable convolution, fast COCO evaluation). "
                "Compile the official source to have them: "
                "https://detectron2.readthedocs.io/en/latest/tutorials/install.html"
            )

    _C = _MissingOps()

__all__ = ["_C"]
'''

EDITS = (
    # Without compiled operators. `from detectron2 import _C` itself must go on failing: Detectron2
    # tests for it in other places.
    Edit(
        "detectron2/layers/deform_conv.py",
        "from detectron2 import _C\n",
        "from detectron2.utils.c_ops import _C\n",
        _NO_COMPILER,
    ),
    Edit(
        "detectron2/layers/roi_align_rotated.py",
        "from detectron2 import _C\n",
        "from detectron2.utils.c_ops import _C\n",
        _NO_COMPILER,
    ),
    Edit(
        "detectron2/layers/rotated_boxes.py",
        "from detectron2 import _C\n",
        "from detectron2.utils.c_ops import _C\n",
        _NO_COMPILER,
    ),
    Edit(
        "detectron2/evaluation/coco_evaluation.py",
        "from detectron2.evaluation.fast_eval_api import COCOeval_opt\n",
        "",
        _NO_COMPILER,
    ),
    Edit(
        "detectron2/evaluation/coco_evaluation.py",
        "from .evaluator import DatasetEvaluator\n",
        "from .evaluator import DatasetEvaluator\n"
        "\n"
        "try:\n"
        "    from detectron2.evaluation.fast_eval_api import COCOeval_opt\n"
        "except ImportError:\n"
        "    COCOeval_opt = COCOeval\n",
        _NO_COMPILER,
    ),
    Edit(
        "detectron2/evaluation/coco_evaluation.py",
        "self._use_fast_impl = use_fast_impl\n",
        "self._use_fast_impl = use_fast_impl and COCOeval_opt is not COCOeval\n",
        _NO_COMPILER,
    ),
    # Libraries that went away or moved on.
    Edit(
        "detectron2/export/__init__.py",
        "from .api import *\n",
        "try:\n"
        "    import caffe2.python as _caffe2\n"
        "except ImportError:\n"
        "    pass\n"
        "else:\n"
        "    from .api import *\n",
        "torch no longer brings Caffe2",
    ),
    Edit(
        "detectron2/model_zoo/model_zoo.py",
        "import pkg_resources\n",
        "",
        "setuptools 81 removed pkg_resources",
    ),
    Edit(
        "detectron2/model_zoo/model_zoo.py",
        "pkg_resources.resource_filename(\n"
        '        "detectron2.model_zoo", os.path.join("configs", config_path)\n'
        "    )",
        'os.path.join(os.path.dirname(os.path.abspath(__file__)), "configs", config_path)',
        "setuptools 81 removed pkg_resources",
    ),
    Edit(
        "detectron2/data/transforms/transform.py",
        "interp=Image.LINEAR",
        "interp=Image.BILINEAR",
        "Pillow 10 removed the alias LINEAR",
    ),
    Edit(
        "detectron2/data/common.py",
        "self._rng.sample(self._fallback_candidates, k=1)",
        "self._rng.sample(list(self._fallback_candidates), k=1)",
        "Python 3.11 no longer samples from sets",
    ),
    # NumPy.
    Edit("detectron2/data/build.py", "dtype=np.int\n", "dtype=int\n", _NUMPY),
    Edit("detectron2/data/build.py", "dtype=np.int)", "dtype=int)", _NUMPY),
    Edit("detectron2/data/datasets/pascal_voc.py", "dtype=np.str)", "dtype=str)", _NUMPY),
    Edit(
        "detectron2/evaluation/pascal_voc_evaluation.py",
        ".astype(np.bool)",
        ".astype(bool)",
        _NUMPY,
        count=2,
    ),
    Edit(
        "detectron2/evaluation/sem_seg_evaluation.py",
        "dtype=np.int)",
        "dtype=int)",
        _NUMPY,
        count=2,
    ),
    Edit(
        "detectron2/evaluation/sem_seg_evaluation.py",
        "np.float)",
        "float)",
        _NUMPY,
        count=5,
    ),
    Edit("detectron2/structures/masks.py", ".astype(np.bool)", ".astype(bool)", _NUMPY, count=2),
    Edit("detectron2/structures/masks.py", "dtype=np.bool)", "dtype=bool)", _NUMPY),
    Edit("detectron2/utils/video_visualizer.py", "dtype=np.bool)", "dtype=bool)", _NUMPY),
    Edit("detectron2/utils/visualizer.py", ".astype(np.bool)", ".astype(bool)", _NUMPY, count=3),
    Edit(
        "detectron2/layers/mask_ops.py",
        "np.array(mask, copy=False)",
        "np.asarray(mask)",
        "in NumPy 2, copy=False forbids a copy instead of avoiding it",
    ),
    # torch.
    Edit(
        "detectron2/engine/hooks.py",
        "torch.optim.lr_scheduler._LRScheduler",
        "torch.optim.lr_scheduler.LRScheduler",
        "the state of torch's own schedulers is saved and loaded: their base is LRScheduler",
        count=2,
    ),
    Edit(
        "detectron2/solver/build.py",
        "torch.optim.lr_scheduler._LRScheduler",
        "torch.optim.lr_scheduler.LRScheduler",
        _SCHEDULER,
    ),
    Edit(
        "detectron2/solver/lr_scheduler.py",
        "torch.optim.lr_scheduler._LRScheduler",
        "torch.optim.lr_scheduler.LRScheduler",
        _SCHEDULER,
        count=4,
    ),
    Edit(
        "detectron2/projects/deeplab/build_solver.py",
        "torch.optim.lr_scheduler._LRScheduler",
        "torch.optim.lr_scheduler.LRScheduler",
        _SCHEDULER,
    ),
    Edit(
        "detectron2/projects/deeplab/lr_scheduler.py",
        "torch.optim.lr_scheduler._LRScheduler",
        "torch.optim.lr_scheduler.LRScheduler",
        _SCHEDULER,
    ),
    Edit(
        "detectron2/engine/launch.py",
        "    assert torch.cuda.is_available(), "
        '"cuda is not available. Please check your installation."\n',
        "    has_gpu = torch.cuda.is_available()\n",
        _CPU,
    ),
    Edit(
        "detectron2/engine/launch.py",
        'backend="NCCL"',
        'backend="NCCL" if has_gpu else "GLOO"',
        _CPU,
    ),
    Edit(
        "detectron2/engine/launch.py",
        "    assert num_gpus_per_machine <= torch.cuda.device_count()\n"
        "    torch.cuda.set_device(local_rank)\n",
        "    if has_gpu:\n"
        "        assert num_gpus_per_machine <= torch.cuda.device_count()\n"
        "        torch.cuda.set_device(local_rank)\n",
        _CPU,
    ),
    Edit(
        "detectron2/engine/train_loop.py",
        "from torch.cuda.amp import GradScaler\n\n            grad_scaler = GradScaler()\n",
        'from torch.amp import GradScaler\n\n            grad_scaler = GradScaler("cuda")\n',
        _AMP,
    ),
    Edit(
        "detectron2/engine/train_loop.py",
        "from torch.cuda.amp import autocast\n",
        "from torch.amp import autocast\n",
        _AMP,
    ),
    Edit("detectron2/engine/train_loop.py", "with autocast():", 'with autocast("cuda"):', _AMP),
    Edit(
        "detectron2/modeling/anchor_generator.py",
        "torch.meshgrid(shifts_y, shifts_x)",
        'torch.meshgrid(shifts_y, shifts_x, indexing="ij")',
        "torch warns unless the order of the axes is given",
    ),
)

# The tag asks for black==21.4b2 (only LazyConfig.to_py formats with it; no installer can resolve
# it any more), for future and pydot (Caffe2 only), and, as an extra, for a direct address, which
# pip refuses since 26.3. omegaconf 2.4 is outside what hydra-core 1.3 accepts.
_METADATA = """\
Summary: Detectron2 0.6 without compiled operators, adapted to current libraries (unofficial build)
Home-page: https://github.com/facebookresearch/detectron2
Author: FAIR
License: Apache-2.0
License-File: LICENSE
Requires-Python: >=3.10
Requires-Dist: Pillow>=7.1
Requires-Dist: matplotlib
Requires-Dist: pycocotools>=2.0.2
Requires-Dist: termcolor>=1.1
Requires-Dist: yacs>=0.1.8
Requires-Dist: tabulate
Requires-Dist: cloudpickle
Requires-Dist: tqdm>4.29.0
Requires-Dist: tensorboard
Requires-Dist: fvcore>=0.1.5,<0.1.6
Requires-Dist: iopath>=0.1.7,<0.1.10
Requires-Dist: omegaconf>=2.1,<2.4
Requires-Dist: hydra-core>=1.1
Provides-Extra: all
Requires-Dist: shapely; extra == "all"
Requires-Dist: pygments>=2.2; extra == "all"
Requires-Dist: psutil; extra == "all"

Detectron2 is FAIR's platform for object detection and segmentation. This is its release 0.6
(Apache License 2.0) with small edits for current versions of torch, NumPy, Pillow and Python; each
changed file ends with a note. It is not an official build. Rotated boxes, deformable convolution
of the C++ kind and the fast COCO evaluation need the official, compiled source.
"""

RECIPE = Recipe(
    source="pb1-detectron2",
    source_version="0.6",
    sha256="5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29",
    name="detectron2",
    version=f"0.6+pure.{BUILD}",
    packages={
        "detectron2": "detectron2",
        "projects/PointRend/point_rend": "detectron2/projects/point_rend",
        "projects/DeepLab/deeplab": "detectron2/projects/deeplab",
        "projects/Panoptic-DeepLab/panoptic_deeplab": "detectron2/projects/panoptic_deeplab",
    },
    edits=EDITS,
    new_files={"detectron2/utils/c_ops.py": _C_OPS_FILE},
    metadata=_METADATA,
    author="the mobileinst_d2 project",
)
