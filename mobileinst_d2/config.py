"""The configuration keys that this project adds to Detectron2's, with their defaults.

Here are those that all systems share; those of one system are beside its model. *Open* are
choices that the paper does not settle; ``docs/deviations.md`` has the reasons.
"""

from detectron2.config import CfgNode as CN

from .modeling.meta_arch.fastinst_config import add_fastinst_model_config
from .modeling.meta_arch.mobileinst_config import add_mobileinst_model_config
from .modeling.meta_arch.sparseinst_config import add_sparseinst_model_config
from .modeling.meta_arch.yolact_config import add_yolact_model_config
from .utils.config_keys import keep_existing_keys

__all__ = ["add_mobileinst_config"]


@keep_existing_keys
def add_mobileinst_config(cfg: CN) -> None:
    """Add this project's keys to ``cfg``, in place. Detectron2's own defaults stay as they are.

    Keys that another project has added before keep their values.

    Args:
        cfg: the config that ``detectron2.config.get_cfg()`` returns.

    Raises:
        ConfigError: if such a key has a value of another type than the one needed here.
    """
    # Number of object classes, of all systems; checked against the dataset's metadata at start.
    cfg.MODEL.NUM_CLASSES = 80
    # Registered data set, such as coco_2017_train, whose classes MODEL.WEIGHTS was trained on: a
    # training starts with the rows of the class layer whose classes match. Empty = with none, if
    # the number of classes differs.
    cfg.MODEL.WARM_START_CLASSES = ""
    # Train with the parts of the network compiled by torch.compile, which takes minutes at the
    # start. Evaluation stays as it is.
    cfg.MODEL.COMPILE = False

    # Where the numbers of a training go beside the terminal, metrics.json, metrics.csv and
    # TensorBoard: "wandb", "mlflow". The package has to be installed.
    cfg.LOG_WRITERS = ()

    _add_backbone_config(cfg)
    add_mobileinst_model_config(cfg)
    add_sparseinst_model_config(cfg)
    add_fastinst_model_config(cfg)
    add_yolact_model_config(cfg)
    _add_data_config(cfg)
    _add_solver_config(cfg)
    _add_test_config(cfg)


def _add_backbone_config(cfg: CN) -> None:
    # Public checkpoint (path or URL) that the backbone gets at the start of a training; "timm" =
    # what timm publishes for the network of TimmBackbone; "" = none. Not used where MODEL.WEIGHTS
    # gives the whole model, nor when a training is resumed.
    cfg.MODEL.BACKBONE.WEIGHTS = ""

    # Normalisation: "BN" | "SyncBN" | "FrozenBN", or others of Detectron2 but for TimmBackbone.
    cfg.MODEL.BACKBONE.NORM = "BN"
    # Stochastic depth of the last transformer block of TopFormer, and of each stage of SeaFormer;
    # earlier blocks get proportionally less.
    cfg.MODEL.BACKBONE.DROP_PATH = 0.1

    # Stages of a ResNet (of 2 to 5) whose 3x3 convolutions are deformable; () = none. It needs no
    # compiled part of Detectron2, as MODEL.RESNETS.DEFORM_ON_PER_STAGE does.
    cfg.MODEL.BACKBONE.DEFORMABLE_STAGES = ()

    cfg.MODEL.TOPFORMER = CN()
    # "tiny" | "small" | "base"; the paper's model is "base".
    cfg.MODEL.TOPFORMER.VARIANT = "base"

    cfg.MODEL.SEAFORMER = CN()
    # Open: "tiny" | "small" | "base" | "large"; the paper names no size.
    cfg.MODEL.SEAFORMER.VARIANT = "base"

    cfg.MODEL.TIMM = CN()
    # TimmBackbone: any network of timm that gives features at strides 8, 16 and 32. The paper's
    # MobileNetV2 is "mobilenetv2_100". The name may end in the tag of certain weights.
    cfg.MODEL.TIMM.NAME = "mobilenetv2_100"
    # Open: how x6 is made of x5: "conv" (3x3, stride 2) | "separable" (depthwise and pointwise) |
    # "pool" (2x2 average).
    cfg.MODEL.TIMM.GLOBAL_FEATURE = "conv"


def _add_data_config(cfg: CN) -> None:
    # Datasets given by paths alone. Each entry is a mapping with the keys
    #   NAME (to use in DATASETS.TRAIN / TEST), FORMAT ("coco" | "ytvis"), JSON, IMAGE_ROOT.
    cfg.DATASETS.CUSTOM = []
    # Share of the samples that comes from each set of DATASETS.TRAIN, such as (1.0, 2.0);
    # () = sets count by their size.
    cfg.DATASETS.RATIO = ()

    # Frames per training clip: 1 = frame-wise training, 2 = pairs for query passing.
    cfg.INPUT.SAMPLING_FRAME_NUM = 2
    # Open: largest distance in frames inside a pair; 0 = the whole video.
    cfg.INPUT.SAMPLING_FRAME_RANGE = 20
    # Open: random order of the frames of a clip (queries pass forward and backward in time).
    cfg.INPUT.SAMPLING_FRAME_SHUFFLE = True
    # Relative range of random brightness, contrast and saturation; 0 = off.
    cfg.INPUT.COLOR_JITTER = 0.0
    # SSD's random brightness, contrast, saturation and hue, as YOLACT has them.
    cfg.INPUT.COLOR_AUG_SSD = False
    # Half of the training samples are made smaller by up to this, in a plain frame of their size,
    # as SSD and YOLACT do for small objects; 1 = off.
    cfg.INPUT.ZOOM_OUT = 1.0
    # Share of the training samples onto which objects of another one are pasted, of videos whole
    # tracks; 0 = off.
    cfg.INPUT.COPY_PASTE = 0.0
    # Input size (H, W) of evaluation, demo and live tracking, as an exported model has it: images
    # are resized to fit and padded to exactly this, multiples of 64. () = MIN_SIZE_TEST and
    # MAX_SIZE_TEST count, and the padding is as small as can be.
    cfg.INPUT.FIXED_SIZE_TEST = ()


def _add_solver_config(cfg: CN) -> None:
    # "ADAMW" | "SGD".
    cfg.SOLVER.OPTIMIZER = "ADAMW"
    # SOLVER.CLIP_GRADIENTS.CLIP_TYPE, which Detectron2 defines, may also be "full_model": the norm
    # over all parameters together.
    # Learning rate of the backbone relative to SOLVER.BASE_LR.
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.5
    # Open: weight decay of embeddings, which are the queries and their positions.
    cfg.SOLVER.WEIGHT_DECAY_EMBED = 0.0
    # Parts that a batch runs in, one after the other, to take less memory: IMS_PER_BATCH, learning
    # rate and schedule stay those of the whole batch.
    cfg.SOLVER.ACCUMULATION_STEPS = 1
    # Length of the training in epochs, which then sets SOLVER.MAX_ITER; 0 = MAX_ITER and STEPS as
    # they are. Open: an epoch has seen as many frames as the training set has annotated ones.
    cfg.SOLVER.EPOCHS = 0.0
    # Epochs after which the learning rate drops, which then set SOLVER.STEPS.
    cfg.SOLVER.EPOCH_STEPS = ()


def _add_test_config(cfg: CN) -> None:
    # Metric by which a training keeps its best weights in model_best.pth, such as "segm/AP", as
    # metrics.json has it; "" = keep none.
    cfg.TEST.BEST_METRIC = ""
    # Evaluations in a row without a new best after which a training ends; 0 = never.
    cfg.TEST.EARLY_STOPPING = 0
    # Instances whose score (before mask rescoring) is not above this are dropped.
    cfg.TEST.SCORE_THRESHOLD = 0.005
    # Mask probability above which a pixel belongs to the instance.
    cfg.TEST.MASK_THRESHOLD = 0.45
    # Open for videos: multiply scores by the mask score, the mean foreground probability.
    cfg.TEST.MASK_RESCORE = True
    # How results are chosen and masks resized: "sparseinst" (the best class of each query; mask
    # score at the network's resolution; probabilities are resized) | "mask2former" (the best pairs
    # of query and class; mask score in the image; logits are resized), as FastInst is evaluated.
    cfg.TEST.PROCEDURE = "sparseinst"

    # Suppression of boxes, in systems that need one (YOLACT).
    cfg.TEST.NMS = CN()
    # Overlap (IoU) with a better box of its class above which a box is dropped.
    cfg.TEST.NMS.THRESHOLD = 0.5

    cfg.TEST.TRACKING = CN()
    # T: a key frame every T frames; the frames between reuse its kernels (paper, eq. 1).
    cfg.TEST.TRACKING.CLIP_LEN = 1
    # Open: what a track's new key frame is compared with: "prev" (its last key frame, as MinVIS) or
    # "ema" (a moving average of its confident key frames).
    cfg.TEST.TRACKING.MODE = "prev"
    # Open: "best" gives a track its best class only, as for images; "all" lets one track appear
    # once per class among the top results, as MinVIS does.
    cfg.TEST.TRACKING.LABELS_PER_TRACK = "best"

    # Live tracking, on top of TEST.TRACKING.
    cfg.TEST.STREAMING = CN()
    # A track becomes visible when its smoothed score reaches SCORE_ON ...
    cfg.TEST.STREAMING.SCORE_ON = 0.4
    # ... and hidden when it falls below SCORE_OFF.
    cfg.TEST.STREAMING.SCORE_OFF = 0.2
    # A track hidden for more key frames than this comes back under a new track ID.
    cfg.TEST.STREAMING.MAX_LOST = 30
    # Instances per frame at most.
    cfg.TEST.STREAMING.MAX_INSTANCES = 20
    # A frame becomes a key frame when it differs from the one before by more than this: the mean
    # absolute difference of grey thumbnails of 32x18 pixels, in grey levels of 255. 0 = off.
    cfg.TEST.STREAMING.SCENE_CUT_THRESHOLD = 0.0
