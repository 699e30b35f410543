"""The class layer of a training that starts from a model of other classes."""

import functools
import logging

import pytest
import torch
from detectron2.data import MetadataCatalog
from small_fastinst import SMALL, build_small_fastinst
from tiny_models import FEW_LAYERS, build_tiny_model, tiny_config
from tiny_yolact import build_tiny_yolact, tiny_yolact_config
from toy_training import ToyTrainer, make_cfg

from mobileinst_core.ytvis.classes import COCO_ID_MAPS, THING_CLASSES
from mobileinst_d2.checkpoint import CheckpointError, TrainingCheckpointer
from mobileinst_d2.checkpoint.class_layers import adapt_class_layers
from mobileinst_d2.data.datasets.classes import dataset_class_names
from mobileinst_d2.utils.classes import save_class_names

build = functools.partial(build_tiny_model, **FEW_LAYERS)
few_layers_config = functools.partial(tiny_config, **FEW_LAYERS)
COCO = MetadataCatalog.get("coco_2017_train").thing_classes
WEIGHT, BIAS = "instance_decoder.class_head.weight", "instance_decoder.class_head.bias"


def marked_state(num_classes):
    """A checkpoint whose class layer has the number of the class everywhere."""
    state = build(seed=1, MODEL__NUM_CLASSES=num_classes).state_dict()
    rows = torch.arange(num_classes, dtype=torch.float32)
    return state | {WEIGHT: rows[:, None].expand(-1, 64).clone(), BIAS: rows}


@pytest.fixture
def start(tmp_path):
    """Start a training on a data set from a checkpoint, up to where the weights are loaded."""

    def load(state, dataset, source, *, classes=None, **options):
        path = tmp_path / "old" / "model_final.pth"
        path.parent.mkdir()
        torch.save({"model": state}, path)
        if classes:
            save_class_names(path.parent, classes)
        num_classes = len(dataset_class_names(dataset))
        cfg = few_layers_config(
            MODEL__NUM_CLASSES=num_classes,
            MODEL__WARM_START_CLASSES=source,
            MODEL__WEIGHTS=str(path),
            DATASETS__TRAIN=(dataset,),
            **options,
        )
        model = build(seed=2, MODEL__NUM_CLASSES=num_classes, **options)
        fresh = {name: value.clone() for name, value in model.state_dict().items()}
        adapt = functools.partial(adapt_class_layers, cfg)
        checkpointer = TrainingCheckpointer(model, str(tmp_path / "new"), adapt=adapt)
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=False)
        return model.state_dict(), fresh

    return load


def rows_of(state, fresh):
    """The class of the checkpoint that each class started from; None for a fresh one."""
    rows = []
    for weight, bias, old in zip(state[WEIGHT], state[BIAS], fresh[WEIGHT], strict=True):
        rows.append(None if torch.equal(weight, old) else int(bias))
        if rows[-1] is not None:
            assert (weight == bias).all()
    return rows


def names_of(rows, new, old):
    return {new[i]: old[row] for i, row in enumerate(rows) if row is not None}


def test_without_a_source_the_layer_is_fresh_and_the_log_says_so(start, caplog):
    old = marked_state(80)
    with caplog.at_level(logging.WARNING):
        state, fresh = start(old, "ytvis_2019_train", "", classes=COCO)
    assert all(torch.equal(state[n], old[n]) for n in state if n not in (WEIGHT, BIAS))
    assert rows_of(state, fresh) == [None] * 40
    assert torch.equal(state[BIAS], fresh[BIAS])
    assert f"class layer ({WEIGHT}, {BIAS}) of 80 classes, and this model has 40" in caplog.text
    assert "MODEL.WARM_START_CLASSES" in caplog.text
    assert "Skip loading" not in caplog.text


@pytest.mark.parametrize(
    ("dataset", "number", "expected"),
    [
        (
            "ytvis_2019",
            19,
            {"person": "person", "sedan": "car", "motorbike": "motorcycle"}
            | {"snowboard": "snowboard", "tennis_racket": "tennis racket"},
        ),
        ("ytvis_2021", 21, {"bird": "bird", "flying_disc": "frisbee", "motorbike": "motorcycle"}),
        ("ytvis_2022", 21, {"airplane": "airplane", "snowboard": "snowboard"}),
        ("ovis", 15, {"Vehical": "car", "Bicycle": "bicycle", "Motorcycle": "motorcycle"}),
    ],
)
def test_coco_classes_start_public_video_classes(start, dataset, number, expected, caplog):
    with caplog.at_level(logging.INFO):
        state, fresh = start(marked_state(80), f"{dataset}_train_sub", "coco_2017_train")
    rows, new = rows_of(state, fresh), THING_CLASSES[dataset]
    found = names_of(rows, new, COCO)
    assert len(found) == number == len(set(COCO_ID_MAPS[dataset].values()))
    assert found.items() >= expected.items()
    for name, old in found.items():
        assert f"{name} from {old}" in caplog.text
    random = ", ".join(name for name in new if name not in found)
    assert f"start at random: {random}." in caplog.text


def test_lists_of_equal_length_are_permuted(start):
    state, fresh = start(marked_state(40), "ytvis_2021_train", "ytvis_2019_train")
    rows, new, old = rows_of(state, fresh), *map(THING_CLASSES.get, ("ytvis_2021", "ytvis_2019"))
    assert names_of(rows, new, old) == {name: name for name in new if name in old}
    assert rows[new.index("person")] == 0
    assert rows[new.index("whale")] is None


@pytest.mark.parametrize("trained_on", ["ytvis_2019", "ytvis_2021", None])
def test_equal_numbers_without_a_source_are_loaded_as_they_are(start, trained_on, caplog):
    with caplog.at_level(logging.WARNING):
        state, fresh = start(
            marked_state(40), "ytvis_2021_train", "", classes=THING_CLASSES.get(trained_on)
        )
    assert rows_of(state, fresh) == list(range(40))
    # Where it is known that the classes are others, that is said.
    assert ("as many classes as ytvis_2021_train has" in caplog.text) == (
        trained_on == "ytvis_2019"
    )


def test_what_has_as_many_rows_as_there_are_classes_is_left_alone(start):
    # 40 queries, 40 classes: only the class layer is permuted.
    options = {"MODEL__MOBILEINST__INSTANCE_DECODER__NUM_QUERIES": 40}
    old = build(seed=1, MODEL__NUM_CLASSES=40, **options).state_dict()
    state, _ = start(old, "ytvis_2021_train", "ytvis_2019_train", **options)
    assert sum(value.ndim > 0 and value.shape[0] == 40 for value in old.values()) > 2
    assert [name for name in old if not torch.equal(state[name], old[name])] == [WEIGHT]


@pytest.mark.parametrize(
    ("number", "source", "classes", "message"),
    [
        (80, "coco_2017_trian", None, "no registered data set: 'coco_2017_trian'; the closest is"),
        (80, "ytvis_2019_train", None, "'ytvis_2019_train' with 40 classes, but .* has 80 classes"),
        (40, "ytvis_2019_train", "ytvis_2021", r"metadata\.json .*on other classes: airplane"),
    ],
)
def test_a_source_that_cannot_be_right_is_named(start, number, source, classes, message):
    names = THING_CLASSES.get(classes)
    with pytest.raises(CheckpointError, match=message):
        start(marked_state(number), "ytvis_2021_train", source, classes=names)


def test_a_checkpoint_without_a_class_layer_has_nothing_to_transfer(start):
    state = {name: value for name, value in marked_state(80).items() if "class_head" not in name}
    with pytest.raises(CheckpointError, match="no class layer"):
        start(state, "ytvis_2019_train", "coco_2017_train")


@pytest.mark.parametrize("resume", [False, True])
def test_elsewhere_another_number_of_classes_is_an_error(tmp_path, resume):
    torch.save({"model": marked_state(80)}, tmp_path / "model_final.pth")
    model = build(MODEL__NUM_CLASSES=40)
    message = rf"{WEIGHT} is \(80, 64\) in the file and \(40, 64\).*MODEL\.NUM_CLASSES"
    if resume:
        (tmp_path / "last_checkpoint").write_text("model_final.pth")
    adapt = pytest.fail if resume else None
    checkpointer = TrainingCheckpointer(model, str(tmp_path), adapt=adapt)
    with pytest.raises(CheckpointError, match=message):
        checkpointer.resume_or_load(str(tmp_path / "model_final.pth"), resume=resume)
    with pytest.raises(CheckpointError, match=message):
        checkpointer.load(str(tmp_path / "model_final.pth"))


def test_a_source_without_a_checkpoint_is_pointed_out(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        ToyTrainer(make_cfg(tmp_path, "MODEL.WARM_START_CLASSES", "coco_2017_train"))
    assert "MODEL.WARM_START_CLASSES has no effect" in caplog.text


def test_rows_of_anchors_and_their_background_are_kept(tmp_path):
    weight, semantic = "head.classes.weight", "semantic_head.weight"
    state = build_tiny_yolact(MODEL__NUM_CLASSES=40).state_dict()
    # Of three anchors, each with the background first.
    marks = torch.arange(-1, 40) + 100.0 * torch.arange(3)[:, None]
    state[weight] = marks.reshape(-1, 1, 1, 1).expand_as(state[weight]).clone()
    new, old = dataset_class_names("coco_2017_train"), dataset_class_names("ytvis_2019_train")
    options = {"MODEL__NUM_CLASSES": 80, "DATASETS__TRAIN": ("coco_2017_train",)}
    options["MODEL__WEIGHTS"] = str(tmp_path / "old.pth")
    cfg = tiny_yolact_config(**options, MODEL__WARM_START_CLASSES="ytvis_2019_train")
    model = build_tiny_yolact(**options)
    fresh = model.state_dict()[weight].unflatten(0, (3, 81))
    adapted = adapt_class_layers(cfg, model, state)
    found = adapted[weight].unflatten(0, (3, 81))
    dog, banana = new.index("dog"), new.index("banana")
    for anchor in range(3):
        assert (found[anchor, 0] == 100 * anchor - 1).all()
        assert (found[anchor, 1 + dog] == 100 * anchor + old.index("dog")).all()
        assert torch.equal(found[anchor, 1 + banana], fresh[anchor, 1 + banana])
    assert torch.equal(adapted[semantic][dog], state[semantic][old.index("dog")])
    # Without names all is fresh.
    plain = adapt_class_layers(tiny_yolact_config(**options), model, state)
    assert torch.equal(plain[weight], model.state_dict()[weight])


def test_the_row_of_no_object_is_kept(tmp_path):
    names = ["decoder.proposals.classifier", *(f"decoder.heads.{i}.class_head.4" for i in range(3))]
    names = [f"{name}.{kind}" for name in names for kind in ("weight", "bias")]
    state = build_small_fastinst(MODEL__NUM_CLASSES=40).state_dict()
    for name in names:
        rows = torch.arange(41.0)
        state[name] = rows.reshape(-1, *[1] * (state[name].ndim - 1)).expand_as(state[name]).clone()
    new, old = dataset_class_names("coco_2017_train"), dataset_class_names("ytvis_2019_train")
    options = {"MODEL__NUM_CLASSES": 80, "DATASETS__TRAIN": ("coco_2017_train",)}
    options |= {"MODEL__WEIGHTS": str(tmp_path / "old.pth")}
    options |= {"MODEL__WARM_START_CLASSES": "ytvis_2019_train"}
    model = build_small_fastinst(1, **options)
    fresh = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = adapt_class_layers(tiny_config(**SMALL | options), model, state)
    dog, banana = new.index("dog"), new.index("banana")
    for name in names:
        assert len(adapted[name]) == 81
        assert (adapted[name][80] == 40).all()
        assert (adapted[name][dog] == old.index("dog")).all()
        assert torch.equal(adapted[name][banana], fresh[name][banana])
    assert [n for n in state if adapted[n] is not state[n]] == [n for n in state if n in names]
