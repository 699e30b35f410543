"""What turns Detectron2 0.6 (2021) into a pure-Python package for today's libraries.

Most of it is a backport of what Detectron2's own main branch changed after the tag. The meaning of
the code stays; what is broken in the main branch as well stays as it is.

Change `BUILD` with every change of the table: installed older builds are then replaced.
"""

__all__ = ["BUILD", "DEPENDENCIES", "NEW_FILES", "PACKAGES", "PATCH", "SOURCE"]

BUILD = 1

# Name, version and SHA-256 of the source archive on the package registry.
SOURCE = (
    "pb1-detectron2",
    "0.6",
    "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29",
)

# From a folder of the archive to its place among the installed packages.
PACKAGES = {
    "detectron2": "detectron2",
    "projects/PointRend/point_rend": "detectron2/projects/point_rend",
    "projects/DeepLab/deeplab": "detectron2/projects/deeplab",
    "projects/Panoptic-DeepLab/panoptic_deeplab": "detectron2/projects/panoptic_deeplab",
}

# The tag also asks for black==21.4b2 (only LazyConfig.to_py formats with it; no installer can
# resolve it any more), for future and pydot (Caffe2 only), and, as an extra, for a direct address,
# which pip refuses since 26.3. omegaconf 2.4 is outside what hydra-core 1.3 accepts.
DEPENDENCIES = (
    "Pillow>=7.1",
    "matplotlib",
    "pycocotools>=2.0.2",
    "termcolor>=1.1",
    "yacs>=0.1.8",
    "tabulate",
    "cloudpickle",
    "tqdm>4.29.0",
    "tensorboard",
    "fvcore>=0.1.5,<0.1.6",
    "iopath>=0.1.7,<0.1.10",
    "omegaconf>=2.1,<2.4",
    "hydra-core>=1.1",
)

NEW_FILES = {
    "detectron2/utils/c_ops.py": '''\
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
''',
}

# By file: fragments, which must occur, and what takes their place wherever they do.
PATCH: dict[str, dict[str, str]] = {
    "detectron2/layers/deform_conv.py": {
        # The C++ operators are optional, so that the package needs no compiler.
        "from detectron2 import _C\n": "from detectron2.utils.c_ops import _C\n",
    },
    "detectron2/layers/roi_align_rotated.py": {
        # The C++ operators are optional, so that the package needs no compiler.
        "from detectron2 import _C\n": "from detectron2.utils.c_ops import _C\n",
    },
    "detectron2/layers/rotated_boxes.py": {
        # The C++ operators are optional, so that the package needs no compiler.
        "from detectron2 import _C\n": "from detectron2.utils.c_ops import _C\n",
    },
    "detectron2/evaluation/coco_evaluation.py": {
        # The C++ operators are optional, so that the package needs no compiler.
        "from detectron2.evaluation.fast_eval_api import COCOeval_opt\n": "",
        "from .evaluator import DatasetEvaluator\n": (
            "from .evaluator import DatasetEvaluator\n"
            "\n"
            "try:\n"
            "    from detectron2.evaluation.fast_eval_api import COCOeval_opt\n"
            "except ImportError:\n"
            "    COCOeval_opt = COCOeval\n"
        ),
        "self._use_fast_impl = use_fast_impl\n": "self._use_fast_impl = use_fast_impl and COCOeval_opt is not COCOeval\n",
    },
    "detectron2/export/__init__.py": {
        # Torch no longer brings Caffe2.
        "from .api import *\n": (
            "try:\n"
            "    import caffe2.python as _caffe2\n"
            "except ImportError:\n"
            "    pass\n"
            "else:\n"
            "    from .api import *\n"
        ),
    },
    "detectron2/model_zoo/model_zoo.py": {
        # Setuptools 81 removed pkg_resources.
        "import pkg_resources\n": "",
        (
            "pkg_resources.resource_filename(\n"
            '        "detectron2.model_zoo", os.path.join("configs", config_path)\n'
            "    )"
        ): 'os.path.join(os.path.dirname(os.path.abspath(__file__)), "configs", config_path)',
    },
    "detectron2/data/transforms/transform.py": {
        # Pillow 10 removed the alias LINEAR.
        "interp=Image.LINEAR": "interp=Image.BILINEAR",
    },
    "detectron2/data/common.py": {
        # Python 3.11 no longer samples from sets.
        "self._rng.sample(self._fallback_candidates, k=1)": "self._rng.sample(list(self._fallback_candidates), k=1)",
    },
    "detectron2/data/build.py": {
        # NumPy 1.24 removed the aliases of Python's own types.
        "dtype=np.int\n": "dtype=int\n",
        "dtype=np.int)": "dtype=int)",
    },
    "detectron2/data/datasets/pascal_voc.py": {
        # NumPy 1.24 removed the aliases of Python's own types.
        "dtype=np.str)": "dtype=str)",
    },
    "detectron2/evaluation/pascal_voc_evaluation.py": {
        # NumPy 1.24 removed the aliases of Python's own types.
        ".astype(np.bool)": ".astype(bool)",
    },
    "detectron2/evaluation/sem_seg_evaluation.py": {
        # NumPy 1.24 removed the aliases of Python's own types.
        "dtype=np.int)": "dtype=int)",
        "np.float)": "float)",
    },
    "detectron2/structures/masks.py": {
        # NumPy 1.24 removed the aliases of Python's own types.
        ".astype(np.bool)": ".astype(bool)",
        "dtype=np.bool)": "dtype=bool)",
    },
    "detectron2/utils/video_visualizer.py": {
        # NumPy 1.24 removed the aliases of Python's own types.
        "dtype=np.bool)": "dtype=bool)",
    },
    "detectron2/utils/visualizer.py": {
        # NumPy 1.24 removed the aliases of Python's own types.
        ".astype(np.bool)": ".astype(bool)",
    },
    "detectron2/layers/mask_ops.py": {
        # In NumPy 2, copy=False forbids a copy instead of avoiding it.
        "np.array(mask, copy=False)": "np.asarray(mask)",
    },
    "detectron2/engine/hooks.py": {
        # The state of torch's own schedulers is saved and loaded: their base is LRScheduler.
        "torch.optim.lr_scheduler._LRScheduler": "torch.optim.lr_scheduler.LRScheduler",
    },
    "detectron2/solver/build.py": {
        # Torch's public base class of schedulers is LRScheduler.
        "torch.optim.lr_scheduler._LRScheduler": "torch.optim.lr_scheduler.LRScheduler",
    },
    "detectron2/solver/lr_scheduler.py": {
        # Torch's public base class of schedulers is LRScheduler.
        "torch.optim.lr_scheduler._LRScheduler": "torch.optim.lr_scheduler.LRScheduler",
    },
    "detectron2/projects/deeplab/build_solver.py": {
        # Torch's public base class of schedulers is LRScheduler.
        "torch.optim.lr_scheduler._LRScheduler": "torch.optim.lr_scheduler.LRScheduler",
    },
    "detectron2/projects/deeplab/lr_scheduler.py": {
        # Torch's public base class of schedulers is LRScheduler.
        "torch.optim.lr_scheduler._LRScheduler": "torch.optim.lr_scheduler.LRScheduler",
    },
    "detectron2/engine/launch.py": {
        # Several processes can also run on the CPU, with the gloo backend.
        '    assert torch.cuda.is_available(), "cuda is not available. Please check your installation."\n': "    has_gpu = torch.cuda.is_available()\n",
        'backend="NCCL"': 'backend="NCCL" if has_gpu else "GLOO"',
        (
            "    assert num_gpus_per_machine <= torch.cuda.device_count()\n"
            "    torch.cuda.set_device(local_rank)\n"
        ): (
            "    if has_gpu:\n"
            "        assert num_gpus_per_machine <= torch.cuda.device_count()\n"
            "        torch.cuda.set_device(local_rank)\n"
        ),
    },
    "detectron2/engine/train_loop.py": {
        # Torch.cuda.amp is deprecated in favour of torch.amp.
        ("from torch.cuda.amp import GradScaler\n\n            grad_scaler = GradScaler()\n"): (
            'from torch.amp import GradScaler\n\n            grad_scaler = GradScaler("cuda")\n'
        ),
        "from torch.cuda.amp import autocast\n": "from torch.amp import autocast\n",
        "with autocast():": 'with autocast("cuda"):',
    },
    "detectron2/modeling/anchor_generator.py": {
        # Torch warns unless the order of the axes is given.
        "torch.meshgrid(shifts_y, shifts_x)": 'torch.meshgrid(shifts_y, shifts_x, indexing="ij")',
    },
}
